"""Launchers and SLURM as a training sees them: this process among those started with it, its job, and the queue."""

import os
import socket
import subprocess
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK")
"""Variables by which launchers other than SLURM's tell a process its number."""
_LAUNCH = "DETA_LAUNCH"
"""Variable with the name of this launch, which processes that this one starts inherit."""
_LAUNCHES = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PMIX_NAMESPACE",
    "LSB_JOBID",
)
"""Variables that launchers set alike for all processes of one training, and otherwise for another."""
_OF_ONE_MACHINE = ("127.0.0.1", "::1", "localhost")
"""Addresses of a first rank that are another one on every machine."""


@dataclass(frozen=True)
class Job:
    """One life of a SLURM job; a requeued job has the same id and another life.

    Attributes:
        id: ``<array>_<task>`` inside a job array.
        life: How often it was put back into the queue before.
    """

    id: str
    life: int


@dataclass(frozen=True)
class QueuedJob:
    """A job as the queue shows it.

    Attributes:
        state: SLURM's, such as ``PENDING``.
        num_restarts: How often it was put back into the queue.
        reason: Why it waits, such as ``Resources``; empty where there is none.
    """

    state: str
    num_restarts: int = 0
    reason: str = ""


def this_job() -> Job | None:
    """The job of this process; None outside of SLURM."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    life = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return Job(f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}", life)
    return Job(os.environ["SLURM_JOB_ID"], life)


def name_launch() -> None:
    """Give the processes of this training a name in common; for the process that a user or a launcher has started."""
    common = [f"{name}={os.environ[name]}" for name in _LAUNCHES if name in os.environ]
    if os.environ.get("MASTER_ADDR") in _OF_ONE_MACHINE:
        common.append(socket.gethostname())
    os.environ[_LAUNCH] = " ".join(common) or uuid.uuid4().hex


def this_launch() -> str:
    """What ``name_launch`` has named here or in the process that started this one; empty if it was not called."""
    return os.environ.get(_LAUNCH, "")


def num_tasks() -> int:
    """Processes that ``srun`` has started beside this one, this one included; 1 where it was not used."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def is_first_rank(*, devices: object, num_nodes: int) -> bool:
    """Whether this process is the one that keeps the records of a training, as far as the environment tells.

    Args:
        devices: Devices of a node as the trainer takes them: a number, a list, ``auto``.
        num_nodes: Nodes of a training.
    """
    if has_tasks_for_ranks(devices=devices, num_nodes=num_nodes):
        return os.environ["SLURM_PROCID"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def has_tasks_for_ranks(*, devices: object, num_nodes: int) -> bool:
    """Whether the tasks that ``srun`` has started are the ranks of one training.

    Several tasks with one device on one node are trainings of their own.
    """
    is_one = str(devices) == "1" or (isinstance(devices, Sequence) and len(devices) == 1)
    return num_tasks() > 1 and not (is_one and num_nodes == 1)


def jobs_in_queue(jobs: Iterable[str]) -> Mapping[str, QueuedJob] | None:
    """Those of ``jobs`` that wait or run; None where SLURM cannot be asked.

    It needs no accounting: ``squeue`` is asked, once. What is no number of a job is in no queue.
    """
    numbers = sorted({number for job in jobs if (number := job.partition("_")[0]).isascii() and number.isdigit()})
    if not numbers:
        return {}
    fields = "JobArrayID:64,State:32,RestartCnt:16,Reason:256"
    command = ["squeue", "--noheader", "--array", f"--Format={fields}", f"--jobs={','.join(numbers)}"]
    try:
        answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    lines = (line.split(maxsplit=3) for line in answer.stdout.splitlines())
    return {words[0]: _queued_job(*words[1:]) for words in lines if len(words) > 1}


def _queued_job(state: str, num_restarts: str = "0", reason: str = "None") -> QueuedJob:
    return QueuedJob(state, int(num_restarts), "" if reason.strip() == "None" else reason.strip())
