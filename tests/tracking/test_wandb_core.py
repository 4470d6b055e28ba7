"""A process of W&B that hangs holds up no training."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deta.tracking.wandb_core import answered_within, core_processes


@pytest.fixture
def core(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A frozen process of its name."""
    sleep = shutil.which("sleep")
    assert sleep is not None
    program = shutil.copy(sleep, tmp_path / "wandb-core")
    with subprocess.Popen([program, "100"]) as process:
        process.send_signal(signal.SIGSTOP)
        yield process
        process.kill()


def test_a_call_that_waits_for_a_frozen_process_ends(core: subprocess.Popen[bytes]) -> None:
    while core.pid not in core_processes():  # it takes its name when it starts
        time.sleep(0.01)
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.3 s"), answered_within(0.3):
        core.wait()
    assert core.returncode == -signal.SIGKILL


def test_an_answer_in_time_leaves_the_process(core: subprocess.Popen[bytes]) -> None:
    with answered_within(0.2):
        pass
    time.sleep(0.4)
    assert core.poll() is None


def test_an_error_of_the_call_comes_through() -> None:
    with pytest.raises(OSError, match="no disk"), answered_within(5):
        raise OSError("no disk")


FROZEN = """
import logging, os, signal, sys, time
from pathlib import Path
from deta.tracking import wandb as wandb_tracker
from deta.tracking.wandb_core import core_processes
logging.basicConfig()
wandb_tracker.SECONDS_TO_ANSWER = 5.0
place, folder = sys.argv[1], Path(sys.argv[2])
first = wandb_tracker.make_wandb_tracker(folder=folder / "first", mode="offline")
wandb_tracker.SECONDS_TO_ANSWER = 100.0  # the machine may be slow
first.log_metrics({"loss": 1.0}, step=0)
assert not first.is_broken
wandb_tracker.SECONDS_TO_ANSWER = 5.0
(core,) = core_processes()
os.kill(core, signal.SIGSTOP)
begin = time.monotonic()
tracker = first
if place == "init":
    tracker = wandb_tracker.make_wandb_tracker(folder=folder / "second", mode="offline")
    tracker.log_metrics({"loss": 1.0}, step=0)
    assert tracker.is_broken
elif place == "log":
    for step in range(1, 3000):
        first.log_metrics({f"metric{k}": 1.0 for k in range(100)}, step=step)
    assert first.is_broken
tracker.finish()
assert tracker.is_broken
print(time.monotonic() - begin, time.time(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["init", "log", "finish"])
def test_a_frozen_process_of_wandb_ends_no_later_than_promised(tmp_path: Path, place: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-c", FROZEN, place, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "W&B failed (TimeoutError: its process did not answer within 5 s and was killed)" in done.stderr
    seconds, end = map(float, done.stdout.split())
    assert seconds < 20
    assert time.time() - end < 60  # nothing waits for it while Python ends, either
