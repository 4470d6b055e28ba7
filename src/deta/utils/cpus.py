"""The CPUs that this process may use, and how its threads wait for each other; nothing here needs PyTorch."""

import math
import os
import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

SPIN_COUNT = "10000"
"""Rounds of a busy wait of GNU's OpenMP, which PyTorch comes with, instead of 300,000: where two trainings share
CPUs, threads wait busily for threads that do not run. Measured by ``scripts/benchmarks/two_trainings.py``."""
THREADS = "OMP_NUM_THREADS"
OWN_THREADS = "DETA_OMP_NUM_THREADS"
"""What we have set ``OMP_NUM_THREADS`` to; ranks divide it, which what a user has set is not."""


@dataclass(frozen=True)
class UsableCpus:
    """How many CPUs, and what limits them.

    Attributes:
        number: From 1.
        limit: ``affinity``, ``cgroup`` or ``SLURM_CPUS_PER_TASK``.
    """

    number: int
    limit: str


def usable_cpus(*, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> UsableCpus:
    """Count the CPUs for threads of this process.

    The smallest of three: the CPUs that the scheduler lets it run on, those whose time its control groups give it,
    rounded up, and those that SLURM gave its task.
    """
    limits = {"affinity": _affinity()}
    quotas = list(_quotas(proc / "self" / "cgroup", cgroups))
    if quotas:
        limits["cgroup"] = max(1, math.ceil(min(quotas)))
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdecimal() and int(slurm) > 0:
        limits["SLURM_CPUS_PER_TASK"] = int(slurm)
    limit = min(limits, key=lambda name: limits[name])
    return UsableCpus(limits[limit], limit)


def set_up_threads(environment: MutableMapping[str, str]) -> None:
    """Set what OpenMP reads when PyTorch is imported, unless the user has.

    Busy waits are short, and there are no more threads than usable CPUs where one would start for each that it sees.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    usable = usable_cpus().number
    if THREADS not in environment and usable < _affinity():
        environment[THREADS] = environment[OWN_THREADS] = str(usable)


def threads_of_rank(environment: MutableMapping[str, str], num_ranks: int) -> int | None:
    """Divide the usable CPUs among the ranks that share them, also for those that inherit ``environment``.

    Returns:
        Threads of each, from 1; None where the user has chosen a number.
    """
    if environment.get(THREADS) != environment.get(OWN_THREADS):
        return None
    threads = max(1, usable_cpus().number // num_ranks)
    environment[THREADS] = environment[OWN_THREADS] = str(threads)
    return threads


@dataclass(frozen=True)
class CpuTimes:
    """Seconds that CPUs have worked up to one moment.

    Attributes:
        moment: On the clock of ``time.monotonic``, s.
        machine: All CPUs of the machine together.
        own: This process and those of its children that have ended.
    """

    moment: float
    machine: float
    own: float

    def busy_since(self, earlier: "CpuTimes") -> float:
        """How many CPUs other processes have kept busy between two moments, on average."""
        others = (self.machine - earlier.machine) - (self.own - earlier.own)
        return max(0.0, others / (self.moment - earlier.moment))


def cpu_times(stat: Path = Path("/proc/stat")) -> CpuTimes | None:
    """The seconds until now; None where the system does not tell them."""
    if not stat.is_file():
        return None
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")
    counts = dict(zip(names, map(int, stat.read_text().split()[1:]), strict=False))  # behind them: other machines
    ticks = sum(counts.values()) - counts["idle"] - counts["iowait"]
    machine = ticks / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return CpuTimes(time.monotonic(), machine, own.user + own.system + own.children_user + own.children_system)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(membership: Path, cgroups: Path) -> Iterator[float]:
    """CPUs that each control group of this process, and those above it, may use; groups without a limit give none."""
    if not membership.is_file():
        return
    for line in membership.read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        if not controllers:
            roots = [cgroups]
        elif "cpu" in controllers.split(","):
            roots = [cgroups / controllers, cgroups / "cpu"]
        else:
            continue
        for root in roots:
            folder = root / place.lstrip("/")  # above it, too: a container may see its own group as the root
            for group in (folder, *folder.parents):
                if group.is_relative_to(root):
                    yield from _quota(group)


def _quota(group: Path) -> Iterator[float]:
    """Of one control group, in the files of either version."""
    unified, quota, period = (group / name for name in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"))
    if unified.is_file():
        words = unified.read_text().split()
    elif quota.is_file() and period.is_file():
        words = [quota.read_text().strip(), period.read_text().strip()]
    else:
        return
    if words[0] not in ("max", "-1"):
        yield int(words[0]) / int(words[1])
