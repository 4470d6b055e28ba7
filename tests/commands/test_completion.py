"""What a shell offers while a command line is typed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deta.commands.completion import candidates, split_line
from deta.studies.conf import config_dir
from tests.commands.running import deta

BIN = Path(sys.executable).parent


def words_for(line: str) -> list[str]:
    """The words with which a line may go on."""
    words, word = split_line(line)
    return [candidate.word for candidate in candidates(words, word, config_dir())]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("deta da", ["data"]),
        ("deta data as", ["assign"]),
        ("deta runs re", ["resume"]),
        ("deta help data sh", ["show", "shard"]),
        ("deta completion ", ["bash", "zsh", "fish"]),
        ("deta train system=din", ["system=dino"]),
        ("deta train seed=", ["seed=0"]),
        ("deta train trainer.max_e", ["trainer.max_epochs="]),
        ("deta train backbone@model.backbone=sw", ["backbone@model.backbone=swin_l"]),
        ("deta train -m rule=iou,hung", ["rule=iou,hungarian"]),
        (
            "deta train system=dino further=",
            ["further=contrastive", "further=copies", "further=denoise", "further=many"],
        ),
        ("deta train --cfg ", ["job", "hydra", "all"]),
        ("deta train --mul", ["--multirun"]),
        ("deta predict device=", ["device=auto", "device=cpu", "device=cuda"]),
        ("deta study tau2_s", ["tau2_shapes"]),
        ("deta study tau2_shapes trainer.max_e", ["trainer.max_epochs="]),
        ("deta train system=nothing trainer.max_e", ["trainer.max_epochs="]),
        ("deta nothing ", []),
    ],
)
def test_a_line_goes_on_with(line: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # without files
    assert words_for(line) == words


def test_runs_and_files_are_offered_where_a_path_is_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs/exp/a", "photos", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "exp" / "a" / "metrics.jsonl").write_text("")
    (tmp_path / "photo 1.jpg").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETA_RUNS", "runs")
    assert words_for("deta eval ckpt=") == ["ckpt=runs/exp/a"]
    assert words_for("deta eval ru") == ["runs/", "run_dir="]
    assert words_for("deta predict runs/exp/a pho") == ["photo 1.jpg", "photos/"]
    assert words_for("deta predict runs/exp/a 'photo ") == ["photo 1.jpg"]
    assert words_for("deta train data.root=") == ["data.root=photos/", "data.root=runs/"]
    assert words_for("deta predict ckpt=x source=pho") == ["source=photo 1.jpg", "source=photos/"]


def test_choices_of_a_folder_of_ones_own_are_offered(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 1\n")
    assert words_for(f"deta train --config-dir {tmp_path} experiment=mi") == ["experiment=mine"]
    (tmp_path / "experiment" / "mimi.yaml").write_text("# @package _global_\nseed: 2\n")  # the store sees the change
    assert words_for(f"deta train --config-dir {tmp_path} experiment=mi") == ["experiment=mimi", "experiment=mine"]


def test_a_cache_that_cannot_be_written_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("DETA_CACHE", str(tmp_path / "cache"))
    assert words_for("deta convert dir") == ["direction="]


def test_only_a_shell_that_is_known_gets_a_script() -> None:
    assert "complete -o nosort -F _deta deta" in deta("completion", "bash").out
    assert deta("completion", "--help").code == 0
    outcome = deta("completion", "tcsh")
    assert (outcome.code, outcome.out[:42]) == (2, "usage: deta completion bash|zsh|fish\n\nPrin")


QUICK = """
import sys
from deta.cli import main
sys.argv = ["deta", "completion", "answer", "fish", "deta train trainer.max_e"]
try:
    main()
finally:
    print(*sorted({"torch", "lightning", "hydra"} & sys.modules.keys()))
"""


def test_an_answer_imports_neither_pytorch_nor_from_its_store_hydra(tmp_path: Path) -> None:
    environment = {**os.environ, "DETA_CACHE": str(tmp_path)}
    done = [
        subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, env=environment, check=False)
        for _ in range(2)
    ]
    answers = [each.stdout.splitlines() for each in done]
    assert answers[0][:-1] == answers[1][:-1] == ["trainer.max_epochs="]
    assert [answer[-1] for answer in answers] == ["hydra", ""]


@pytest.mark.parametrize(
    ("line", "replaced", "answer"),
    [
        ("deta data as", "as", "assign"),
        ("deta train system=din", "din", "dino"),
        ("deta train backbone@model.backbone=sw", "sw", "swin_l"),
        ("deta predict x my", "my", r"my\ photo.jpg"),
    ],
)
def test_bash_replaces_what_stands_behind_the_last_sign(line: str, replaced: str, answer: str, tmp_path: Path) -> None:
    (tmp_path / "my photo.jpg").write_text("")
    script = (
        'eval "$(deta completion bash)"; COMP_LINE=$1; COMP_POINT=${#1}; _deta deta "$2" x; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line, replaced],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert done.stdout.splitlines() == [answer]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_offers_words_with_their_meaning() -> None:
    script = "deta completion fish | source; complete -C 'deta data as'"
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith("assign\twhat an assignment rule does")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_script_and_gets_whole_words() -> None:
    script = (
        'compadd() { print -rl -- "${(@P)@[-1]}" }; compdef() { }; eval "$(deta completion zsh)"; '
        "words=(deta train system=din); CURRENT=3; PREFIX=system=din; _deta"
    )
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["system=dino"]
