"""The script that kills trainings, and its comparison, which must see every bit."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.resume.kill_and_continue import Fault, Writes, differences

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "resume" / "kill_and_continue.py"


def checkpoint(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "state_dict": {"weight": torch.zeros(2)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"last_epoch": 1}],
        "epoch": 1,
        "global_step": 4,
        "deta_resume": {"random": [{"python": (3, (1, 2), None)}], "metrics_end": 10},
        **changes,
    }


def write(folder: Path, row: dict[str, float], last: dict[str, Any]) -> Path:
    """A finished run."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "done.json").write_text('{"AP": 0.5}')
    torch.save(last, folder / "checkpoints" / "last.ckpt")
    torch.save(checkpoint(), folder / "checkpoints" / "best.ckpt")
    return folder


def test_times_and_places_are_no_difference(tmp_path: Path) -> None:
    first = write(tmp_path / "a", {"step": 0, "time": 1, "loss": 2}, checkpoint())
    resume = {"random": [{"python": (3, (1, 2), None)}], "metrics_end": 11}
    second = write(tmp_path / "b", {"step": 0, "time": 5, "loss": 2}, checkpoint(deta_resume=resume, path="elsewhere"))
    assert differences(first, second) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("state_dict", {"weight": torch.tensor([0, torch.finfo().tiny])}),
        ("state_dict", {"weight": torch.zeros(2, dtype=torch.float64)}),
        ("optimizer_states", [{"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1}]}]),
        ("lr_schedulers", []),
        ("global_step", 5),
        ("deta_resume", {"random": [{"python": (3, (1, 3), None)}], "metrics_end": 10}),
    ],
)
def test_a_changed_part_of_the_last_checkpoint_is_named(tmp_path: Path, key: str, value: object) -> None:
    first = write(tmp_path / "a", {"loss": 2}, checkpoint())
    second = write(tmp_path / "b", {"loss": 2}, checkpoint(**{key: value}))
    assert differences(first, second) == [f"last.ckpt: {key}"]


def test_a_changed_metric_is_a_difference(tmp_path: Path) -> None:
    first = write(tmp_path / "a", {"loss": 2.0}, checkpoint())
    assert differences(first, write(tmp_path / "b", {"loss": 2.0000000000000004}, checkpoint())) == ["metrics.jsonl"]


def test_writes_are_counted_by_event_and_file_and_one_of_them_fails(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    child = os.fork()  # an audit hook stays as long as its process
    if child == 0:
        writes = Writes(run, Fault("full", "open a.N.json", 2))
        writes.watch()
        (tmp_path / "outside").write_text("")
        (run / "a.11.json").write_text("1")
        (run / "a.11.json").read_text()
        (run / "a.11.json").rename(run / "a")
        (run / "a").unlink()
        (tmp_path / "counts").write_text(json.dumps(writes.counts))
        try:
            (run / "a.12.json").write_text("2")
        except OSError as error:
            (tmp_path / "error").write_text(str(error))
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads((tmp_path / "counts").read_text()) == {"open a.N.json": 1, "rename a": 1, "remove a": 1}
    assert (tmp_path / "error").read_text() == f"[Errno 28] No space left on device: '{run}/a.12.json'"


@pytest.mark.parametrize(("kind", "expected"), [("kill", None), ("half", "{")])
def test_a_process_is_killed_before_or_within_a_write(tmp_path: Path, kind: str, expected: str | None) -> None:
    child = os.fork()
    if child == 0:
        Writes(tmp_path, Fault(kind, "open a", 1)).watch()
        (tmp_path / "a").write_text("{}")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert ((tmp_path / "a").read_text() if (tmp_path / "a").exists() else None) == expected


def test_a_final_score_that_is_missing_is_a_difference(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, {"loss": 2.0}, checkpoint()) for name in ("a", "b"))
    (second / "done.json").write_text("{}")
    assert differences(first, second) == ["done.json"]


@pytest.mark.gate
@pytest.mark.parametrize("kind", ["--random=3", "--group=2"])
def test_killed_trainings_end_as_the_one_that_was_not(tmp_path: Path, kind: str) -> None:
    command = [sys.executable, str(SCRIPT), kind, "--output", str(tmp_path), "trainer.max_epochs=2"]
    with tempfile.TemporaryDirectory() as temporary:  # a path that is short enough for sockets
        environment = {**os.environ, "TMPDIR": temporary}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        left = [path.name for path in Path(temporary).iterdir() if path.name.startswith(("pymp-", "deta-kills-"))]
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(f"{kind[-1]} of {kind[-1]} identical")
    assert left == []
