"""What a process learns of SLURM from its environment and from ``squeue``."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only

from deta.runs.cluster import (
    Job,
    QueuedJob,
    is_first_rank,
    jobs_in_queue,
    name_launch,
    num_tasks,
    this_job,
    this_launch,
)
from deta.training.processes import choose_environment, require_one_rank_per_process
from tests.training.tiny import make_trainer

STEP = {
    "SLURM_JOB_ID": "12",
    "SLURM_JOB_NAME": "deta",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
}
"""The second of two tasks on one node."""
RANK_ZERO_ONLY: Any = rank_zero_only
"""By whose attribute Lightning and W&B know whether to write."""


@pytest.fixture(autouse=True)
def outside_of_slurm() -> Iterator[None]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    rank = RANK_ZERO_ONLY.rank
    with mock.patch.dict(os.environ, own, clear=True):
        yield
    RANK_ZERO_ONLY.rank = rank


def put_into_path(folder: Path, script: str) -> None:
    """A ``squeue`` that is this script comes before any other."""
    command = folder / "squeue"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def test_a_requeued_job_has_the_same_id_and_another_life() -> None:
    assert this_job() is None
    os.environ["SLURM_JOB_ID"] = "12"
    assert this_job() == Job("12", 0)
    os.environ["SLURM_RESTART_COUNT"] = "2"
    assert this_job() == Job("12", 2)
    os.environ |= {"SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "3"}
    assert this_job() == Job("10_3", 2)


def test_tasks_are_ranks_unless_each_has_one_device() -> None:
    os.environ.update(STEP)
    assert num_tasks() == 2
    assert not is_first_rank(devices=2, num_nodes=1)
    assert not is_first_rank(devices="auto", num_nodes=1)
    assert not is_first_rank(devices=1, num_nodes=2)
    assert is_first_rank(devices=1, num_nodes=1)
    assert is_first_rank(devices=[0], num_nodes=1)
    os.environ["SLURM_PROCID"] = "0"
    assert is_first_rank(devices=2, num_nodes=1)


def test_a_rank_that_lightning_starts_is_not_the_first() -> None:
    os.environ["LOCAL_RANK"] = "1"
    assert not is_first_rank(devices=2, num_nodes=1)


def test_an_independent_task_writes_its_own_records() -> None:
    os.environ.update(STEP)
    RANK_ZERO_ONLY.rank = 1  # as Lightning sets it from SLURM_PROCID when it is imported
    assert isinstance(choose_environment(devices=1, num_nodes=1), LightningEnvironment)
    assert RANK_ZERO_ONLY.rank == 0


def test_tasks_of_one_training_get_their_rank_of_slurm() -> None:
    os.environ.update(STEP)
    environment = choose_environment(devices=2, num_nodes=1)
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    assert environment.global_rank() == 1


def test_one_task_starts_further_ranks_itself() -> None:
    os.environ.update({**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"})
    assert isinstance(choose_environment(devices=2, num_nodes=1), LightningEnvironment)


def test_tasks_that_are_not_as_many_as_the_ranks_are_refused(tmp_path: Path) -> None:
    os.environ.update(STEP)
    environment = choose_environment(devices="auto", num_nodes=1)
    trainer = make_trainer(tmp_path, plugins=[environment])
    with pytest.raises(ValueError, match=r"srun started 2 tasks, but this training has 1 rank: set trainer.devices"):
        require_one_rank_per_process(trainer, environment)


def test_the_queue_is_asked_once_for_all_jobs(tmp_path: Path) -> None:
    answer = 'echo "7   RUNNING  2 None "; echo "9_1 PENDING 0 Nodes required for job are DOWN "'
    put_into_path(tmp_path, f'echo "$@" >>{tmp_path}/asked; {answer}')
    assert jobs_in_queue(["9_0", "7", "9_1"]) == {
        "7": QueuedJob("RUNNING", 2),
        "9_1": QueuedJob("PENDING", 0, "Nodes required for job are DOWN"),
    }
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.split()[-1] == "--jobs=7,9"


def test_a_job_that_slurm_has_forgotten_is_in_no_queue(tmp_path: Path) -> None:
    put_into_path(tmp_path, "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert jobs_in_queue(["7"]) == {}


def test_a_queue_that_does_not_answer_says_nothing(tmp_path: Path) -> None:
    put_into_path(tmp_path, "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert jobs_in_queue(["7"]) is None
    assert jobs_in_queue([]) == {}


@pytest.mark.parametrize("job", ["a\0b", "\ud800", "--help", "7,8", "", "\u0663"])
def test_what_is_no_number_of_a_job_is_in_no_queue_and_nobody_is_asked(tmp_path: Path, job: str) -> None:
    put_into_path(tmp_path, "exit 1")
    assert jobs_in_queue([job]) == {}


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def launch(**environment: str) -> str:
    with mock.patch.dict(os.environ, environment):
        name_launch()
        return this_launch()


def test_the_ranks_of_a_launcher_have_a_name_in_common_and_other_trainings_another() -> None:
    ranks = {launch(**TORCHRUN, RANK=rank, LOCAL_RANK=rank) for rank in "01"}
    assert len(ranks) == 1
    assert ranks.isdisjoint({launch(**{**TORCHRUN, "MASTER_PORT": "29501"}), launch(), launch()})
    assert launch(**STEP) == launch(**{**STEP, "SLURM_PROCID": "0"}) != launch(**{**STEP, "SLURM_STEP_ID": "1"})
    assert launch() != launch()
    here = launch(**TORCHRUN)
    with mock.patch("socket.gethostname", return_value="elsewhere"):
        assert launch(**TORCHRUN) != here
        node = {**TORCHRUN, "MASTER_ADDR": "10.0.0.1"}
        there = launch(**node)
    assert launch(**node) == there
