"""Commands in several processes: the numbers of one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deta.runs.state import RunState, read_status
from deta.tracking.metrics import read_metrics
from tests.commands.running import TINY_TRAINING, succeed

pytestmark = pytest.mark.slow
TRAINING = (*TINY_TRAINING, "data.num_val=5", "data.eval_batch_size=1", "+data.pad_to=[192,192]")
"""Of one padded size, so that no image sees another padding; five validation images for two ranks."""
CPU = "trainer.accelerator=cpu"


def start(*words: str, **variables: str) -> subprocess.Popen[str]:
    """Start ``deta`` as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "NODE_RANK")}
    environment = {**kept, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **variables}
    command = [sys.executable, "-m", "deta", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(*processes: subprocess.Popen[str]) -> None:
    """Wait until all have succeeded; a hang fails."""
    try:
        for process in processes:
            out, _ = process.communicate(timeout=300)
            assert process.returncode == 0, out
    finally:
        for process in processes:
            process.kill()


def first_row(folder: Path) -> Mapping[str, Any]:
    """What the first step logged."""
    return next(row for row in read_metrics(folder / "metrics.jsonl") if "train/loss" in row)


def assert_same_start(folder: Path, alone: Path) -> None:
    """The first step, before weights can differ by more than rounding, has the losses of one process."""
    expected = {key: value for key, value in first_row(alone).items() if key.startswith("train/l")}
    assert len(expected) == 7
    assert {key: first_row(folder)[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    assert read_status(folder).state == RunState.DONE


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    succeed("train", *TRAINING, f"hydra.run.dir={folder}")
    return folder


def test_ddp_trains_and_evaluates_uneven_data_on_two_processes(alone: Path, tmp_path: Path) -> None:
    words = (*TRAINING, "data.batch_size=2", "trainer=ddp", "trainer.devices=2", CPU)
    wait_for(start("train", *words, f"hydra.run.dir={tmp_path}"))
    assert_same_start(tmp_path, alone)


def test_processes_on_two_machines_train_as_one(alone: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    words = (*TRAINING, "data.batch_size=2", "trainer=multinode", "trainer.devices=1", CPU)
    wait_for(*(start("train", *words, f"hydra.run.dir={tmp_path}", NODE_RANK=str(k), **place) for k in range(2)))
    assert_same_start(tmp_path, alone)


def test_evaluation_on_two_processes_gives_the_detections_and_numbers_of_one(alone: Path, tmp_path: Path) -> None:
    outcomes = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        wait_for(start("eval", f"ckpt={alone}", "accelerator=cpu", f"devices={devices}", f"hydra.run.dir={folder}"))
        records = json.loads((folder / "predictions.json").read_text())
        metrics = json.loads((folder / "metrics.json").read_text())
        outcomes.append((sorted(map(repr, records)), repr(metrics)))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) > 5
