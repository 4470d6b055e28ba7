"""Trainings that a real SLURM stops end as if nothing had stopped them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deta.runs.folders import find_runs
from deta.runs.state import RunState, read_status
from scripts.resume.kill_and_continue import differences
from tests.commands.running import deta, succeed
from tests.slurm.conftest import (
    BRAKE,
    JOB,
    TRAINING,
    job_of,
    lives,
    output,
    preempt,
    slurm,
    wait_for,
    wait_for_file,
    wait_until_done,
)

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def limited(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that waits for its time limit while the other tests run."""
    run = tmp_path_factory.mktemp("limited") / "run"
    limit = ("cluster.options.time=3", "cluster.options.signal=USR1@10")
    succeed("train", *TRAINING, *BRAKE, "+callbacks.brake.steps=[5]", "seed=1", *JOB, *limit, f"hydra.run.dir={run}")
    return run


def test_a_sweep_preempted_during_imports_and_again_with_two_workers(whole: Path, tmp_path: Path) -> None:
    brake = (*BRAKE, "+callbacks.brake.steps=[null,3]", "+callbacks.brake.only=-s1-")
    words = (*TRAINING, *brake, "data.num_workers=2", f"hydra.sweep.dir={tmp_path}", *JOB)
    place = ("cluster.options.partition=scavenge", "cluster.options.cpus-per-task=3")
    job = job_of(succeed("train", "-m", *words, *place, "seed=0,1").out)
    first, second = find_runs(tmp_path)
    assert "-s1-" in second.name
    for run in (first, second):
        shutil.rmtree(run / ".hydra")  # of the process that has submitted
    for run in (first, second):
        wait_for_file(run / ".hydra" / "overrides.yaml", tmp_path)  # the job writes it before it imports PyTorch
    preempt()
    wait_for_file(second / "waiting-1", tmp_path)
    wait_until_done(first, tmp_path)
    preempt()
    wait_until_done(second, tmp_path)
    assert differences(whole, second) == []
    assert (lives(first), lives(second)) == (1, 2)  # the first one of each was over before the training began
    said = output(tmp_path)
    assert said.count("stopped by SIGUSR1 at its start") == 2
    assert said.count("stopped by SIGUSR1 after step 4") == 1
    assert [said.count(f"asking SLURM to queue job {job}_{task} again") for task in (0, 1)] == [1, 2]


def test_a_cancelled_job_is_resumable_and_resuming_finishes_it(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    brake = (*BRAKE, "+callbacks.brake.steps=[6]")
    outcome = succeed("train", *TRAINING, *brake, "seed=1", *JOB, f"hydra.run.dir={run}")
    assert read_status(run).state == RunState.QUEUED
    wait_for_file(run / "waiting-0", run)
    assert read_status(run).state == RunState.RUNNING
    slurm("scancel", job_of(outcome.out))
    wait_for("the job has ended", lambda: read_status(run).state != RunState.RUNNING, run)
    assert read_status(run).state == RunState.RESUMABLE
    assert "stopped by SIGTERM after step 7" in output(run)
    resume = ("runs", "resume", f"folder={run}", *JOB)
    assert "Submitted job" in succeed(*resume).out
    again = succeed(*resume).out
    assert "1 queued" in again or "1 running" in again
    assert "Submitted job" not in again
    wait_until_done(run, run)
    assert differences(whole, run) == []


def test_a_job_that_is_queued_again_by_hand_stays_the_job_of_its_run(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    brake = (*BRAKE, "+callbacks.brake.steps=[5]")
    job = job_of(succeed("train", *TRAINING, *brake, "seed=1", *JOB, f"hydra.run.dir={run}").out)
    second = deta("train", *TRAINING, "seed=2", *JOB, f"hydra.run.dir={run}")
    assert second.code == 1
    assert f"{run}: queued, skipped job {job}" in second.out or f"{run}: running, skipped job {job}" in second.out
    wait_for_file(run / "waiting-0", run)
    slurm("scontrol", "requeue", job)
    wait_for("the job has left", lambda: read_status(run).state != RunState.RUNNING, run)
    status = read_status(run)
    assert status.state == RunState.QUEUED
    assert status.message.startswith(f"job {job}")
    assert "Submitted job" not in succeed("runs", "resume", f"folder={run}", *JOB).out
    wait_until_done(run, run)
    assert differences(whole, run) == []


def test_two_tasks_of_one_training_are_preempted_together(cluster: Path, tmp_path: Path) -> None:
    ranks = ("trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2")
    for name, steps in (("whole", "[]"), ("stopped", "[3]")):
        brake = (*BRAKE, f"+callbacks.brake.steps={steps}")
        place = ("cluster.options.partition=scavenge", f"hydra.run.dir={tmp_path / name}")
        succeed("train", *TRAINING, *brake, *ranks, *JOB, *place)
    run = tmp_path / "stopped"
    wait_for_file(run / "waiting-0", run)
    wait_until_done(tmp_path / "whole", tmp_path)
    preempt()
    wait_until_done(run, run)
    assert differences(tmp_path / "whole", run) == []
    assert output(run).count("stopped by SIGUSR1 after step") == 1


def test_tasks_with_one_device_each_are_trainings_of_their_own(whole: Path, tmp_path: Path) -> None:
    words = " ".join(f'"{word}"' for word in (*TRAINING, "trainer.devices=1"))
    command = f"{sys.executable} -m deta train {words} seed=$SLURM_PROCID hydra.run.dir={tmp_path}/$SLURM_PROCID"
    done = subprocess.run(["srun", "--ntasks=2", "bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [read_status(tmp_path / name).state for name in "01"] == [RunState.DONE, RunState.DONE]
    assert differences(whole, tmp_path / "1") == []


def test_submitit_preempts_and_requeues_in_the_same_way(whole: Path, tmp_path: Path) -> None:
    words = (*TRAINING, *BRAKE, "+callbacks.brake.steps=[3]", f"hydra.sweep.dir={tmp_path}", "cluster=submitit")
    place = ("hydra.launcher.partition=scavenge", "hydra.launcher.cpus_per_task=1", "hydra.launcher.timeout_min=30")
    command = [sys.executable, "-m", "deta", "train", "-m", *words, *place, "seed=1"]
    with (tmp_path / "output.txt").open("w") as file:
        launcher = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for("the job waits", lambda: any(tmp_path.glob("*/waiting-0")))
        preempt()
        assert launcher.wait(timeout=400) == 0, (tmp_path / "output.txt").read_text()
    finally:
        launcher.kill()
    (run,) = find_runs(tmp_path)
    assert differences(whole, run) == []
    assert lives(run) == 2
    assert (tmp_path / "output.txt").read_text().rstrip().endswith("1 done")


def test_a_run_that_reaches_its_time_limit_goes_on_in_a_new_life(whole: Path, limited: Path) -> None:
    wait_until_done(limited, limited)
    assert differences(whole, limited) == []
    assert lives(limited) >= 2
    assert "asking SLURM to queue job" in output(limited)
