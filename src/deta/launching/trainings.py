"""Many ``deta`` processes: beside each other on this machine, or as one job array on a cluster."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deta.console.catalogue import environment_of_another
from deta.console.terminal import termination_as_exception
from deta.console.told_words import told_present_words
from deta.console.words import given_words, training_words
from deta.launching import slurm
from deta.runs.former_words import present_words
from deta.utils.checks import require_int

_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    Attributes:
        folder: Of its run.
        code: Its exit code.
        seconds: How long it took.
    """

    folder: Path
    code: int
    seconds: float


def run_here(
    commands: Mapping[Path, Sequence[str]], *, parallel: int = 1, threads: int | None = None, log: str | None = None
) -> Iterator[Ended]:
    """Run ``deta`` once for each folder; a failure stops no other.

    An exception at the place where the next one is waited for, such as that of Ctrl-C or SIGTERM, stops the running
    processes, which save what they have done.

    Args:
        commands: Folder to the words after ``deta``.
        parallel: Processes at once, from 1.
        threads: Threads of each, from 1; None is an equal share of the processors, or all for one at a time.
        log: File in the folder that their output goes to; None is this terminal.

    Yields:
        Every process when it has ended.
    """
    environment = _environment(require_int("parallel", parallel, low=1), threads)
    waiting = list(commands.items())
    running: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}
    with termination_as_exception():
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    folder, words = waiting.pop(0)
                    running[folder] = _start(folder, words, environment, log), time.monotonic()
                for folder, (process, start) in list(running.items()):
                    if process.poll() is not None:
                        del running[folder]
                        yield Ended(folder, process.returncode, time.monotonic() - start)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:
            for process, _ in running.values():
                process.terminate()
            for process, _ in running.values():
                process.wait()


def submit(commands: Mapping[Path, Sequence[str]], folder: Path, *, dry_run: bool = False) -> None:
    """Submit trainings to SLURM as one job array, with the options of the first of them and of this command line.

    Args:
        commands: Run directory to the words of its ``deta train``, at least one.
        folder: Of all of them.
        dry_run: Only say with which options.
    """
    words = training_words(next(iter(commands.values())))
    given = [word for word in given_words(HydraConfig.get().overrides.task) if "cluster" in word.partition("=")[0]]
    composed = compose_training([*words, *given])
    HydraConfig.instance().set_config(composed)  # the name of the experiment is its choice, not one of this command
    options = OmegaConf.to_container(composed.cluster.options, resolve=True)
    assert isinstance(options, dict)
    named = {str(name): value for name, value in options.items()}
    limit = composed.cluster.max_parallel
    if dry_run:
        slurm.require_time_before_warning(named)
        print("sbatch", shlex.join(slurm.sbatch_options(named, len(commands), folder, max_parallel=limit)))
        return
    slurm.submit(commands, named, folder, max_parallel=limit)


def further_words(cfg: DictConfig, taken: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """What a command that starts trainings is given for all of them, in ``overrides`` and among its own words.

    Args:
        cfg: Of the command.
        taken: Keys that it sets itself, and how they are given to it.

    Raises:
        ValueError: ``overrides`` is no list of overrides, or names such a key.
    """
    if not OmegaConf.is_list(cfg.overrides):
        raise ValueError(f"overrides must be a list such as [data.root=/data/coco], got {cfg.overrides!r}")
    words = [str(word) for word in (*cfg.overrides, *cfg.words)]
    told_present_words(words)  # they are put into their present form together with the others of a training
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key in taken:
            raise ValueError(f"{word}: the study sets {key} of every run itself: give {taken[key]}")
    return words


def compose_training(words: Sequence[str]) -> DictConfig:
    """The configuration of the ``deta train`` with these words, that of Hydra included."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return hydra.compose_config("train", present_words(words), run_mode=RunMode.RUN, with_log_configuration=False)


def _environment(parallel: int, threads: int | None) -> dict[str, str]:
    environment = environment_of_another()
    if threads is None and parallel > 1:
        threads = max(1, len(os.sched_getaffinity(0)) // parallel)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(require_int("threads", threads, low=1))  # PyTorch's, too
    return environment


def _start(
    folder: Path, words: Sequence[str], environment: Mapping[str, str], log: str | None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deta", *words]
    if log is None:
        return subprocess.Popen(command, env=environment)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / log).open("ab") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
