"""What a machine has for trainings, found out in a moment: nothing here imports PyTorch or asks a network."""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deta.runs.cluster import this_job
from deta.tracking.wandb_key import has_wandb_key
from deta.utils.cpus import usable_cpus

_GIB = 2**30
_LITTLE_MEMORY, _LITTLE_DISK, _LITTLE_SHARED = 4 * _GIB, 5 * _GIB, _GIB // 4
"""Bytes below which a training has not enough: of a small detector on a CPU, of checkpoints, of reading processes."""
_SECONDS_TO_ANSWER = 3


@dataclass(frozen=True)
class Fact:
    """Something about the machine.

    Attributes:
        name: In a word or two.
        value: As it is.
        advice: What to do about it; empty where all is well.
    """

    name: str
    value: str
    advice: str = ""


def machine_facts(*, runs: Path, cache: Path, data: Path, proc: Path = Path("/proc")) -> Iterator[Fact]:
    """Processors, memory, disk, folders, cluster and tracker.

    Args:
        runs: Where runs go; it need not exist yet.
        cache: Where generated data go.
        data: Where data sets lie.
        proc: The system's folder of facts.
    """
    yield Fact("system", f"{platform.platform()}, {platform.machine()}")
    yield _processors()
    yield _memory(proc / "meminfo", Path("/sys/fs/cgroup/memory.max"))
    yield _shared_memory(Path("/dev/shm"))
    yield _disk(runs)
    yield _writable("runs folder", runs, "hydra.run.dir or DETA_RUNS")
    yield _writable("cache folder", cache, "DETA_CACHE")
    yield Fact("data folder", f"{data.absolute()}{'' if data.is_dir() else ' (not there: data.root=... or DETA_DATA)'}")
    yield _slurm()
    yield _tracker()


def _processors() -> Fact:
    usable, load = usable_cpus(), os.getloadavg()[0]
    value = f"{usable.number} usable ({usable.limit}) of {os.cpu_count()}, load {load:.1f} of late"
    is_busy = load > usable.number
    return Fact("CPUs", value, "other programs keep them busy, which slows trainings here down" if is_busy else "")


def _memory(meminfo: Path, limit: Path) -> Fact:
    if not meminfo.is_file():
        return Fact("memory", "not known")
    rows = (line.partition(":") for line in meminfo.read_text().splitlines())
    numbers = {name: int(value.split()[0]) * 1024 for name, _, value in rows if value.split()}
    total, free = numbers["MemTotal"], numbers.get("MemAvailable", numbers["MemFree"])
    told = f"{free / _GIB:.1f} GiB free of {total / _GIB:.1f}"
    most = limit.read_text().strip() if limit.is_file() else "max"
    if most.isdecimal() and int(most) < total:
        told += f", of which this process may use {int(most) / _GIB:.1f}"
        free = min(free, int(most))
    return Fact("memory", told, "less than a training of images needs" if free < _LITTLE_MEMORY else "")


def _shared_memory(folder: Path) -> Fact:
    if not folder.is_dir():
        return Fact("shared memory", "none", "reading processes need it: data.num_workers=0")
    free = shutil.disk_usage(folder).free
    advice = "reading processes need more: data.num_workers=0, or docker run --shm-size=2g"
    return Fact("shared memory", f"{free / _GIB:.1f} GiB free", advice if free < _LITTLE_SHARED else "")


def _disk(runs: Path) -> Fact:
    usage = shutil.disk_usage(_existing(runs))
    told = f"{usage.free / _GIB:.1f} GiB free of {usage.total / _GIB:.1f} where runs go"
    return Fact("disk", told, "little room for checkpoints" if usage.free < _LITTLE_DISK else "")


def _writable(name: str, folder: Path, key: str) -> Fact:
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return Fact(name, f"{folder.absolute()} can be written")
    except OSError as error:
        reason = error.strerror or str(error)
        return Fact(name, f"{folder.absolute()} cannot be written ({reason})", f"give another one by {key}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _slurm() -> Fact:
    job = this_job()
    if job is not None:
        return Fact("SLURM", f"in job {job.id}")
    if shutil.which("sbatch") is None:
        return Fact("SLURM", "not here")
    try:
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%P %a %D"], capture_output=True, text=True, check=True, timeout=_SECONDS_TO_ANSWER
        )
    except (OSError, subprocess.SubprocessError):
        return Fact("SLURM", "sbatch is here, and sinfo gives no answer", "cluster=sbatch may not reach its controller")
    rows = [line.split() for line in done.stdout.splitlines() if line.split()]
    return Fact(
        "SLURM", "; ".join(f"{row[0]} {row[1]}, nodes: {row[2]}" for row in rows if len(row) == 3) or "no partition"
    )


def _tracker() -> Fact:
    mode = os.environ.get("WANDB_MODE")
    if has_wandb_key():
        return Fact("W&B", f"a key is here{f', WANDB_MODE={mode}' if mode else ''}")
    return Fact("W&B", "no key: runs are kept offline until wandb login and wandb sync (logger=file: none at all)")
