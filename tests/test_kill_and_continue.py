"""The script that kills trainings, and its comparison, which must see every bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.resume.kill_and_continue import differences

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "resume" / "kill_and_continue.py"


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


@pytest.mark.slow
def test_killed_trainings_end_as_the_one_that_was_not(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--times", "2", "--output", str(tmp_path), "trainer.max_epochs=2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("2 of 2 identical")
