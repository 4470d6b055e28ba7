"""How the processes of a training find each other, and when they are no training together."""

import logging
import os
from datetime import timedelta

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from deta.runs.cluster import has_tasks_for_ranks, num_tasks
from deta.utils.cpus import CpuTimes, cpu_times, threads_of_rank, usable_cpus
from deta.utils.wording import counted

_log = logging.getLogger(__name__)

SECONDS_OF_PATIENCE = 900.0
"""How long a rank waits for another one where the trainer's configuration does not say."""
BUSY_BY_CHANCE = 0.5
"""CPUs that other programs of a machine use now and then without being at work."""


def choose_environment(*, devices: object, num_nodes: int) -> ClusterEnvironment:
    """What tells a process its rank.

    SLURM tells it only where ``srun`` started several tasks for one training. One task starts further ranks itself;
    several tasks with ``devices=1`` on ``num_nodes=1`` are trainings of their own, each the first and only rank of
    its own, whatever its number among the tasks.

    Args:
        devices: Devices of a node as the trainer takes them: a number, a list, ``auto``.
        num_nodes: Nodes of a training.

    Raises:
        RuntimeError: SLURM was not told how many tasks a node has.
    """
    for kind in (TorchElasticEnvironment, LSFEnvironment, MPIEnvironment):
        if kind.detect():
            return kind()
    if has_tasks_for_ranks(devices=devices, num_nodes=num_nodes):
        return SLURMEnvironment(auto_requeue=False)  # it would requeue from inside of reading processes
    environment = LightningEnvironment()
    if num_tasks() > 1:
        environment.set_global_rank(0)  # Lightning takes the task's number for a rank and would log nothing
    return environment


def limit_waits(trainer: pl.Trainer, *, seconds: float) -> None:
    """Let a rank wait at most so long for another one, instead of PyTorch's half hour."""
    if isinstance(trainer.strategy, DDPStrategy):
        trainer.strategy._timeout = timedelta(seconds=seconds)  # its argument, which a strategy named by a word has not


def starts_own_ranks(trainer: pl.Trainer) -> bool:
    """Whether this process will start the other ranks of its training itself, with its own command line."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return trainer.world_size > 1 and environment is not None and not environment.creates_processes_externally


def share_cpus(trainer: pl.Trainer) -> None:
    """Divide the CPUs among the ranks that this process will start and itself, unless the user has set threads."""
    if starts_own_ranks(trainer):
        threads = threads_of_rank(os.environ, trainer.num_devices)
        if threads is not None:
            torch.set_num_threads(threads)


def tell_threads(since: CpuTimes | None) -> None:
    """Say how many threads compute, and warn where other programs keep their CPUs busy.

    Args:
        since: Times at an earlier moment of this process; None says nothing of other programs.
    """
    threads, usable, total = torch.get_num_threads(), usable_cpus(), os.cpu_count() or 1
    _log.info("%s, %s usable (%s)", counted(threads, "thread"), counted(usable.number, "CPU"), usable.limit)
    now = cpu_times()
    busy = 0.0 if since is None or now is None else now.busy_since(since)
    if busy + threads > total + BUSY_BY_CHANCE:
        _log.warning(
            "Other programs keep %.1f of the %s of this machine busy, and this training wants %d: all will be slow%s",
            busy,
            counted(total, "CPU"),
            threads,
            "; OMP_NUM_THREADS=<number> limits its threads" if threads > 1 else "",
        )


def require_one_rank_per_process(trainer: pl.Trainer, environment: ClusterEnvironment) -> None:
    """Refuse a trainer whose devices are not as many as the tasks that SLURM started for it.

    Raises:
        ValueError: They are not: the training would wait for ranks that nobody starts, or every task would train
            the same.
    """
    if isinstance(environment, SLURMEnvironment) and trainer.world_size != num_tasks():
        raise ValueError(
            f"srun started {counted(num_tasks(), 'task')}, but this training has "
            f"{counted(trainer.world_size, 'rank')}: set trainer.devices to the tasks of a node and trainer.num_nodes "
            "to the nodes, or trainer.devices=1 where every task is a training of its own"
        )
