"""A real SLURM cluster on the loopback interface, and trainings to run on it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from deta.runs.state import RunState, read_status
from tests.commands.running import SMALL_MODEL

ROOT = Path(__file__).resolve().parents[2]
SECONDS_OF_PATIENCE = 600.0
SECONDS_WITHOUT_JOBS = 60.0
"""Nothing will happen any more where no job is left for so long."""
NUM_CPUS = 8
TRAINING = (
    "experiment=deta_shapes",
    *SMALL_MODEL,
    "data.num_train=16",
    "data.num_val=4",
    "data.batch_size=4",
    "data.eval_batch_size=2",
    "data.num_workers=0",
    "logger=file",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=2",
    "trainer.check_val_every_n_epoch=1",
)
"""Two epochs of four steps."""
JOB = ("cluster=sbatch", "cluster.options.cpus-per-task=1", "cluster.options.time=20")
BRAKE = ("+callbacks.brake._target_=tests.slurm.brake.Brake", "+callbacks.brake.folder='${run_dir}'")


@pytest.fixture(scope="session")
def cluster(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running cluster, which every SLURM command finds."""
    scripts = shared / "slurm"
    if not (scripts / "start_cluster.sh").is_file():
        pytest.skip(f"no cluster: {scripts}/start_cluster.sh does not exist (set DETA_SHARED)")
    folder = tmp_path_factory.mktemp("cluster")
    size = {"CLUSTER_CPUS": str(NUM_CPUS), "CLUSTER_GRACE": "200", "CLUSTER_KILL_WAIT": "120"}
    started = subprocess.run(
        [str(scripts / "start_cluster.sh"), str(folder)],
        check=False, capture_output=True, text=True, env={**os.environ, **size},
    )  # fmt: skip
    if started.returncode:
        pytest.skip(f"no cluster: {started.stderr.strip()}")
    found = {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PYTHONPATH": str(ROOT),  # the jobs find the brake
        "OMP_NUM_THREADS": "1",
        "DETA_CACHE": str(folder / "cache"),
        "WANDB_MODE": "disabled",
    }
    try:
        with mock.patch.dict(os.environ, found):
            yield folder
    finally:
        subprocess.run([str(scripts / "stop_cluster.sh"), str(folder)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def whole(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stops, in a process with as many threads as the jobs have."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    command = [sys.executable, "-m", "deta", "train", *TRAINING, "seed=1", f"hydra.run.dir={folder}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def wait_for(what: str, is_so: Callable[[], bool], *logs: Path) -> None:
    """Look until something has happened; where it does not, the output of the jobs says why."""
    end = time.monotonic() + SECONDS_OF_PATIENCE
    end_without_jobs = time.monotonic() + SECONDS_WITHOUT_JOBS
    while not is_so():
        if slurm("squeue", "--noheader"):
            end_without_jobs = time.monotonic() + SECONDS_WITHOUT_JOBS
        if time.monotonic() > min(end, end_without_jobs):
            said = "\n".join(path.read_text() for folder in logs for path in sorted(folder.rglob("slurm/*.log")))
            pytest.fail(f"has not happened: {what}\n{said}")
        time.sleep(0.2)


def wait_for_file(path: Path, *logs: Path) -> None:
    wait_for(f"{path} exists", path.exists, *logs)


def wait_until_done(run: Path, *logs: Path) -> None:
    wait_for(f"{run} is done", lambda: read_status(run).state in (RunState.DONE, RunState.FAILED), *logs)
    assert read_status(run).state == RunState.DONE


def slurm(*command: str) -> str:
    """What a command of SLURM answers."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def preempt() -> None:
    """A job of higher priority comes, takes all processors that jobs of its own priority leave, and is over at once."""
    taken = sum(map(int, slurm("squeue", "--noheader", "--partition=debug", "--states=R", "--format=%C").split()))
    slurm("sbatch", "--partition=debug", f"--ntasks={NUM_CPUS - taken}", "--output=/dev/null", "--wrap=true")


def job_of(out: str) -> str:
    """The id in what ``deta`` says after it has submitted."""
    (line,) = (line for line in out.splitlines() if line.startswith("Submitted job "))
    return line.removeprefix("Submitted job ").partition(":")[0]


def lives(run: Path) -> int:
    """How often a run was started: each start leaves a record."""
    return len(list(run.glob("environment*.json")))


def output(folder: Path) -> str:
    """What the jobs of a folder wrote."""
    return "".join(path.read_text() for path in sorted((folder / "slurm").glob("*.log")))
