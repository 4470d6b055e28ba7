"""What is handed to SLURM, with commands that only take notes; tests/slurm runs it on a real cluster."""

import json
import os
import shlex
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import pytest

from deta.console.words import training_words
from deta.launching import slurm
from deta.launching.slurm import require_time_before_warning, submit
from deta.runs import claims
from deta.runs.folders import find_runs
from deta.runs.state import RunState, read_status
from tests.commands.running import TINY_TRAINING, deta, fail, succeed

SWEEP = ("-m", *TINY_TRAINING, "cluster=sbatch", "seed=0,1")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's commands: ``sbatch`` and ``scontrol`` write their words to files, ``squeue`` knows what was submitted."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "sbatch": f'for word in "$@"; do echo "$word"; done >{folder}/words; echo "42;name"',
        "scontrol": f'echo "$@" >{folder}/released',
        "squeue": 'echo "42_0 PENDING 0 Resources"; echo "42_1 RUNNING 0 None"; echo "42 PENDING 0 Priority"',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_a_sweep_becomes_one_job_array_and_what_is_missing_of_it_alone_another_one(
    commands: Path, tmp_path: Path
) -> None:
    limits = ("cluster.max_parallel=1", "cluster.options.partition=night", "+cluster.options.comment='a b'")
    sweep = tmp_path / "sweep"
    outcome = succeed("train", *SWEEP, *limits, f"hydra.sweep.dir={sweep}")
    assert "Submitted job 42: 2 runs" in outcome.out
    assert "locally" not in outcome.out + outcome.err  # as Hydra says of what it only collects
    words = (commands / "words").read_text().splitlines()
    assert {"--array=0-1%1", "--partition=night", "--comment=a b", "--signal=USR1@180", "--nodes=1"} <= set(words)
    assert not any(word.startswith(("--account", "--mem")) for word in words)  # null is not given
    assert "--hold" in words
    assert (commands / "released").read_text() == "--clusters=name release 42\n"
    runs = find_runs(sweep)
    assert Path(words[-1]).read_text().splitlines() == [str(run) for run in runs]
    for seed, run in enumerate(runs):
        given = (run / "overrides.txt").read_text().splitlines()
        assert given[-2:] == ["ckpt=auto", f"hydra.run.dir='{run}'"]
        assert f"seed={seed}" in given
        assert not any(word.startswith(("cluster", "+cluster", "hydra.sweep")) for word in given)
        assert read_status(run).state == RunState.QUEUED
    (commands / "words").unlink()
    assert succeed("train", *SWEEP, f"hydra.sweep.dir={sweep}").out.count("queued, skipped job 42_") == 2
    again = succeed("runs", "resume", f"folder={sweep}", "cluster=sbatch").out
    assert "2 queued" in again
    assert not (commands / "words").exists()
    (commands / "squeue").write_text("#!/bin/sh\necho '42_1 RUNNING'\n")
    options = ("cluster=sbatch", "cluster.options.time=8:00:00", "+cluster.options.comment=again")
    planned = succeed("runs", "resume", f"folder={sweep}", *options, "dry_run=true").out
    assert "sbatch --job-name=deta-deta_shapes --time=8:00:00" in planned
    assert "--comment=again" in planned
    assert not (commands / "words").exists()
    out = succeed("runs", "resume", f"folder={sweep}", *options, "overrides=['trainer.max_epochs=2']").out
    assert "1 queued, 1 missing" in out
    assert "Submitted job 42: 1 run" in out
    words = (commands / "words").read_text().splitlines()
    assert {"--time=8:00:00", "--comment=again", "--job-name=deta-deta_shapes"} <= set(words)
    (missing,) = Path(words[-1]).read_text().splitlines()
    given = (Path(missing) / "overrides.txt").read_text().splitlines()
    assert {"seed=0", "trainer.max_epochs=2", "ckpt=auto"} <= set(given)


@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_a_dry_run_says_what_would_be_submitted_and_does_nothing(
    sweep: tuple[str, ...], commands: Path, tmp_path: Path
) -> None:
    place = f"hydra.sweep.dir={tmp_path / 'runs'}" if sweep else f"hydra.run.dir={tmp_path / 'runs' / 'a b'}"
    seeds = ("seed=0,1",) if sweep else ("seed=7",)
    words = (*sweep, *TINY_TRAINING, *seeds, "cluster=sbatch", "cluster.options.partition=night", place)
    outcome = succeed("train", *words, "dry_run=true")
    (options, *lines) = [shlex.split(line) for line in outcome.out.splitlines() if line.startswith(("sbatch", "deta "))]
    assert {"sbatch", "--partition=night", "--signal=USR1@180"} <= set(options)
    assert ("--array=0-1" in options) == bool(sweep)
    assert [sum(word.startswith("seed=") for word in line) for line in lines] == [1] * len(lines)
    assert len(lines) == (2 if sweep else 1)
    assert all(line[:2] == ["deta", "train"] and line[-2] == "ckpt=auto" for line in lines)
    assert not any(word.startswith(("dry_run", "cluster")) for line in lines for word in line)
    assert not (commands / "words").exists()
    assert find_runs(tmp_path) == []
    assert not (tmp_path / "runs" / "a b").exists()
    assert not sweep or not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"--nodes=1", "--ntasks-per-node=1"}),
        (["trainer=ddp", "trainer.devices=2"], {"--nodes=1", "--ntasks-per-node=2"}),
        (["trainer=ddp", "trainer.devices=[0,2,3]"], {"--nodes=1", "--ntasks-per-node=3"}),
        (["trainer=multinode"], {"--nodes=2", "--ntasks-per-node=8"}),
    ],
)
def test_a_job_has_a_task_for_every_rank(words: list[str], expected: set[str], commands: Path, tmp_path: Path) -> None:
    succeed("train", "experiment=deta_shapes", *words, "cluster=sbatch", f"hydra.run.dir={tmp_path / 'run'}")
    assert expected <= set((commands / "words").read_text().splitlines())


def test_a_second_submission_into_a_directory_is_refused(commands: Path, tmp_path: Path) -> None:
    words = ("train", *TINY_TRAINING, "cluster=sbatch", f"hydra.run.dir={tmp_path / 'run'}")
    assert "Submitted job 42: 1 run" in succeed(*words).out
    (commands / "words").unlink()
    second = deta(*words, "seed=7")
    assert second.code == 1
    assert f"{tmp_path / 'run'}: queued, skipped job 42 waits: Priority" in second.out
    assert "Submitted" not in second.out
    assert not (commands / "words").exists()
    assert "seed=7" not in (tmp_path / "run" / "overrides.txt").read_text()


def test_runs_that_another_process_holds_are_not_submitted(commands: Path, tmp_path: Path) -> None:
    held, free = tmp_path / "held", tmp_path / "free"
    held.mkdir()
    start = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
    place = {"host": socket.gethostname(), "pid": os.getppid(), "started": start, "job": None, "life": 0}
    (held / "running.json").write_text(json.dumps(place))
    assert submit({held: ["seed=1"], free: ["seed=2"]}, {}, tmp_path) == "42"
    assert Path((commands / "words").read_text().splitlines()[-1]).read_text() == f"{free}\n"
    assert not (held / "overrides.txt").exists()


def test_a_run_is_queued_before_its_claim_is_given_up_and_its_job_starts_after_that(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tmp_path / name for name in "ab"]
    for command, words in {"sbatch": 'echo "42"', "scontrol": ""}.items():
        (commands / command).write_text(f"#!/bin/sh\nls {runs[0]} {runs[1]} >{tmp_path}/at_{command}\n{words}\n")
    at_release = []

    def release(run: Path) -> None:
        at_release.append((run / "queued.json").is_file())  # which another submission reads from now on
        claims.release(run)

    monkeypatch.setattr(slurm, "release", release)
    assert submit({run: ["seed=1"] for run in runs}, {}, tmp_path) == "42"
    at_sbatch, at_scontrol = ((tmp_path / f"at_{name}").read_text() for name in ("sbatch", "scontrol"))
    assert (at_sbatch.count("running.json"), at_sbatch.count("queued.json")) == (2, 0)
    assert at_release == [True, True]
    assert (at_scontrol.count("running.json"), at_scontrol.count("queued.json")) == (0, 2)


@pytest.mark.slow
def test_of_submissions_at_once_one_alone_goes(commands: Path, tmp_path: Path) -> None:
    (commands / "sbatch").write_text(f"#!/bin/sh\necho x >>{tmp_path}/submitted; sleep 0.3; echo 42\n")
    code = (
        "from pathlib import Path; from deta.launching.slurm import submit; "
        f"submit({{Path('{tmp_path}/run'): []}}, {{}}, Path('{tmp_path}'))"
    )
    others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = "".join(other.communicate(timeout=60)[0] for other in others)
    assert [other.returncode for other in others] == [0] * 4
    assert (tmp_path / "submitted").read_text() == "x\n"
    assert said.count("Submitted job 42") == 1
    assert said.count(f"{tmp_path}/run: ") == 3


def test_a_job_whose_runs_cannot_be_put_on_record_is_cancelled(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (commands / "scancel").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/cancelled\n')
    (commands / "scancel").chmod(0o755)
    monkeypatch.setattr(slurm, "mark_queued", mock.Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        submit({tmp_path / "run": []}, {}, tmp_path)
    assert (tmp_path / "cancelled").read_text() == "--clusters=name 42\n"
    assert "job 42 is cancelled: its runs could not be put on record as queued" in capsys.readouterr().err
    assert not (commands / "released").exists()
    assert read_status(tmp_path / "run").state != RunState.QUEUED


def test_a_job_that_slurm_does_not_let_go_is_told_with_what_lets_it(commands: Path, tmp_path: Path) -> None:
    (commands / "scontrol").write_text("#!/bin/sh\necho 'Access denied' >&2; exit 1\n")
    message = fail("train", *TINY_TRAINING, "cluster=sbatch", f"hydra.run.dir={tmp_path}/run")
    assert "job 42 is submitted, but held (Access denied): scontrol --clusters=name release 42 lets it start" in message
    assert read_status(tmp_path / "run").state == RunState.QUEUED


@pytest.mark.parametrize(
    ("time", "signal", "is_refused"),
    [
        ("2:00", "USR1@180", True),
        ("4", "USR1@180", True),  # the warning may come a minute early
        ("5", "USR1@180", False),
        ("4:01", "USR1@180", False),  # rounded up
        ("0:05:00", "R:USR1@300", True),
        ("2-0", "USR1@180", False),
        ("0-0:3", "B:USR1", False),
        ("0-0:2:0", "USR1", True),
        ("UNLIMITED", "USR1@180", False),
        ("0", "USR1@180", False),  # no limit
        (None, "USR1@180", False),
        ("1", None, False),
    ],
)
def test_a_time_that_is_over_with_its_warning_is_refused(
    time: str | None, signal: str | None, is_refused: bool
) -> None:
    raised = pytest.raises(ValueError, match=r"stopped before its first step and queued again for ever")
    with raised if is_refused else nullcontext():
        require_time_before_warning({"time": time, "signal": signal})


def test_without_sbatch_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = fail("train", *TINY_TRAINING, "cluster=sbatch", f"hydra.run.dir={tmp_path}/run")
    assert "sbatch is not found: submit from a login node of a SLURM cluster, or use cluster=none" in message


def test_a_refusal_of_sbatch_is_told(commands: Path, tmp_path: Path) -> None:
    (commands / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: night' >&2; exit 1\n")
    message = fail("train", *TINY_TRAINING, "cluster=sbatch", f"hydra.run.dir={tmp_path}/run")
    assert "sbatch refuses the job (invalid partition specified: night): see cluster.options" in message


def test_a_missing_launcher_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deta.cli.find_spec", lambda _: None)
    assert "cluster=submitit needs a package that is not installed: pip install hydra-submitit-launcher" in fail(
        "train", "-m", *TINY_TRAINING, "cluster=submitit"
    )


def test_submitit_without_a_sweep_is_refused(tmp_path: Path) -> None:
    message = fail("train", *TINY_TRAINING, "cluster=submitit", f"hydra.run.dir={tmp_path}/run")
    assert "cluster=submitit submits sweeps alone: add -m" in message


def test_words_that_say_where_a_run_is_done_are_no_part_of_it() -> None:
    words = [
        "cluster=sbatch",
        "+cluster.options.comment=x",
        "ckpt=auto",
        "hydra.run.dir=x",
        "hydra/launcher=y",
    ]
    kept = [
        "hydra.searchpath=['file:///x']",
        "seed=1",
        "+clusters=1",
        "~callbacks.best",
        "assigner@criterion.rules.layers.assigner=iou",
    ]
    assert training_words([*words, *kept]) == kept
    assert training_words(["sweep=n", "seed=1", "hydra.mode=MULTIRUN"]) == ["sweep=n", "seed=1", "hydra.mode=RUN"]


def test_listing_runs_imports_no_pytorch(tmp_path: Path) -> None:
    code = "import sys; from deta.cli import main; main(); assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code, "runs", f"folder={tmp_path}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("no runs")


def test_a_reader_of_the_list_may_leave_early(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "deta", "runs", f"folder={tmp_path}"]
    done = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.stderr, done.returncode) == (b"", 0)
