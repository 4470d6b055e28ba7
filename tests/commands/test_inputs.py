"""Typing errors and missing files, which are answered before packages are imported for seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deta import cli
from deta.console.catalogue import COMMANDS
from tests.commands.running import deta, fail

REFUSED = """
import contextlib, io, json, sys
from deta.cli import main

answers = {}
for command in json.loads(sys.argv[1]):
    told = io.StringIO()
    sys.argv[1:] = [*command.split(), "zebra.crossing=1"]
    with contextlib.redirect_stderr(told):
        try:
            main()
        except SystemExit as end:
            answers[command] = [end.code, told.getvalue(), sorted({"torch", "lightning"} & sys.modules.keys())]
print(json.dumps(answers))
"""


def test_a_wrong_key_of_any_command_is_refused_without_pytorch() -> None:
    words = {"search": "search lr", "study": "study tau2_shapes"}
    lines = [words.get(name, name) for name, command in COMMANDS.items() if not command.own]
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, json.dumps(lines)], capture_output=True, text=True, check=True
    )
    answers = json.loads(done.stdout)
    assert answers.keys() == set(lines)
    for line, (code, told, loaded) in answers.items():
        assert code == 1, line
        assert "zebra.crossing=1: the configuration has no key zebra" in told, line
        assert loaded == [], line


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("train", "nothing says what to train, and {}/data/coco is not there: give experiment=<name>"),
        ("train data.root={}/cocoo", "did you mean data.root={}/coco?"),
        ("data stats data.root={}/cocoo", "did you mean data.root={}/coco?"),
        (
            "data assign data.root={}/coco data.val_annotations=annotations/val.json",
            "mean data.val_annotations=annotations/vall.json?",
        ),
        ("data assign data.root={}/coco data.val_annotations=vall.json", "did you mean {}/coco/annotations/vall.json?"),
        ("predict {}/runs/xrun {}/runs/xrum", "source={}/runs/xrum does not exist: did you mean source={}/runs/xrun?"),
        ("predict yrun photo.jpg", "yrun does not exist: did you mean ckpt={}/runs/yrun?"),
        ("predict {}/photo.jpg {}/runs/xrun", "photo.jpg is a picture or a video: the run or checkpoint comes first"),
        ("predict {}/runs/y photo.jpg", "{}/runs/y does not exist: give a checkpoint file or the directory of a run"),
        ("predict {}/runs/xrun.ckpt photo.jpg", "did you mean ckpt={}/runs/xrun?"),
        ("eval --from {}/nothing.json", "from_file={}/nothing.json does not exist"),
        ("report {}/runz", "{}/runz is not a folder: did you mean folder={}/runs?"),
        ("convert {}/nothing.pth x", "source={}/nothing.pth does not exist"),
    ],
)
def test_what_is_missing_is_told_before_the_command_is_imported(
    line: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("runs/xrun", "runs/yrun/checkpoints", "coco/annotations", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "photo.jpg").write_bytes(b"")
    for name in ("instances_train2017.json", "instances_val2017.json", "vall.json"):
        (tmp_path / "coco" / "annotations" / name).write_text("")
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("DETA_DATA", f"{tmp_path}/data")
    monkeypatch.setenv("DETA_RUNS", f"{tmp_path}/runs")
    monkeypatch.setattr(cli, "import_module", None)
    assert told.replace("{}", str(tmp_path)) in fail(*line.replace("{}", str(tmp_path)).split())


@pytest.mark.parametrize("words", [("nowhere", "0"), ("https://example.org/x.ckpt", "-"), ("nowhere", "photos/*.jpg")])
def test_what_may_be_the_name_of_something_else_is_left_to_the_command(
    words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "import_module", lambda _: sys.exit(77))
    assert deta("predict", *words).code == 77
