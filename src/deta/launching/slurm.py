"""Submitting trainings to SLURM by ``sbatch``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from deta.console.catalogue import environment_of_another
from deta.runs.claims import RunTakenError, claim, release
from deta.runs.state import TAKEN, RunState, RunStatus, mark_queued, read_statuses
from deta.utils.checks import require_int
from deta.utils.files import write_text
from deta.utils.wording import counted

_SECONDS_EARLY = 60
"""SLURM counts in minutes: a limit is rounded up to them, and a warning may be so much too early."""
_SECONDS_OF_WARNING = 60
"""Where the option names none."""


def submit(
    runs: Mapping[Path, Sequence[str]], options: Mapping[str, Any], folder: Path, *, max_parallel: int | None = None
) -> str | None:
    """Submit trainings as one job, or as one job array where there are several, and say so.

    Those that are done, under way or queued are left out, which is said, too. The job is held by SLURM until every run
    is on record as queued and its claim given up: another submission finds the claim or the record, and no job starts
    before it can claim its run.

    Args:
        runs: Run directory to the words of ``deta train``.
        options: Options of ``sbatch`` without dashes; those that are None are left out.
        folder: Where the list of the runs and the output of the jobs go.
        max_parallel: Jobs that run at once; None is all.

    Returns:
        The id of the job; None where there was nothing to submit.

    Raises:
        FileNotFoundError: There is no ``sbatch`` or ``scontrol`` here.
        ValueError: SLURM refuses the job, its time is shorter than the warning, or a word has a line break.
        OSError: SLURM does not let the job go.
    """
    for command in ("sbatch", "scontrol"):
        if shutil.which(command) is None:
            raise FileNotFoundError(
                f"{command} is not found: submit from a login node of a SLURM cluster, or use cluster=none"
            )
    require_time_before_warning(options)
    for run, words in runs.items():
        if any("\n" in word for word in (*words, str(run))):
            raise ValueError(f"{run}: a word of the command has a line break, which the list of a job cannot hold")
    with _held(runs) as free:
        if not free:
            return None
        job, cluster = _submit({run: runs[run] for run in free}, options, folder, max_parallel)
        try:
            for index, run in enumerate(free):
                mark_queued(run, job if len(free) == 1 else f"{job}_{index}")
        except BaseException:  # Ctrl-C, too: a job that nothing tells of would wait for ever
            subprocess.run(["scancel", *cluster, job], check=False)
            print(f"deta: job {job} is cancelled: its runs could not be put on record as queued", file=sys.stderr)
            raise
    _let_go(job, cluster)
    print(f"Submitted job {job}: {counted(len(free), 'run')}; deta runs folder={folder} shows them")
    return job


def sbatch_options(
    options: Mapping[str, Any], num_runs: int, folder: Path, *, max_parallel: int | None = None
) -> list[str]:
    """Options of the ``sbatch`` that submits so many runs, as it takes them; see ``submit``."""
    logs = (folder / "slurm").resolve()
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    if num_runs == 1:
        return [*given, f"--output={logs}/%j.log"]
    limit = "" if max_parallel is None else f"%{require_int('cluster.max_parallel', max_parallel, low=1)}"
    return [*given, f"--array=0-{num_runs - 1}{limit}", f"--output={logs}/%A_%a.log"]


def require_time_before_warning(options: Mapping[str, Any]) -> None:
    """Refuse a job that would be warned of its time limit before it could have done anything, again and again.

    Raises:
        ValueError: The limit is not longer than the warning before it.
    """
    limit, signal = _seconds(str(options.get("time"))), options.get("signal")
    if limit is None or signal is None:
        return
    _, _, ahead = str(signal).partition("@")
    warning = int(ahead) if ahead.isdigit() else _SECONDS_OF_WARNING
    if limit <= warning + _SECONDS_EARLY:
        raise ValueError(
            f"cluster.options.time={options['time']} is {limit} s, but cluster.options.signal={signal} warns {warning} "
            f"s before its end, and up to {_SECONDS_EARLY} s earlier: the run would be stopped before its first step "
            "and queued again for ever; give more time or a later warning"
        )


def template() -> Path:
    """The batch script: inside an installed package, or in ``scripts/slurm`` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "slurm", package.parents[1] / "scripts" / "slurm"):
        if (folder / "train.sbatch").is_file():
            return folder / "train.sbatch"
    raise FileNotFoundError(f"no train.sbatch beside {package}: reinstall deta")


def tell_skipped(status: RunStatus) -> None:
    """Say why there is nothing to start in a run directory."""
    print(f"{status.folder}: {status.state}, skipped {status.message}".rstrip())


@contextmanager
def _held(runs: Iterable[Path]) -> Iterator[list[Path]]:
    """Hold the runs while they are submitted; yields those of which nobody else has done or will do anything."""
    held = []
    try:
        for run in runs:
            run.mkdir(parents=True, exist_ok=True)
            try:
                claim(run)
                held.append(run)
            except RunTakenError as error:
                tell_skipped(RunStatus(run, RunState.RUNNING, message=str(error.holder)))
        statuses = read_statuses(held, is_own_told=False)
        for status in statuses:
            if status.state in TAKEN:
                tell_skipped(status)
        yield [status.folder for status in statuses if status.state not in TAKEN]
    finally:
        for run in held:
            release(run)


def _submit(
    runs: Mapping[Path, Sequence[str]], options: Mapping[str, Any], folder: Path, max_parallel: int | None
) -> tuple[str, list[str]]:
    """Hand the runs to SLURM as a job that waits for ``_let_go``; its id, and words that name another cluster."""
    for run, words in runs.items():
        write_text(run / "overrides.txt", "".join(f"{word}\n" for word in words))
    logs = (folder / "slurm").resolve()
    logs.mkdir(parents=True, exist_ok=True)
    listing = logs / f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}.txt"
    write_text(listing, "".join(f"{run.resolve()}\n" for run in runs))
    arguments = sbatch_options(options, len(runs), folder, max_parallel=max_parallel)
    command = ["sbatch", "--parsable", "--hold", *arguments, str(template()), sys.executable, str(listing)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, env=environment_of_another())
    if answer.returncode:
        raise ValueError(f"sbatch refuses the job ({answer.stderr.strip()}): see cluster.options")
    job, _, cluster = answer.stdout.strip().partition(";")
    return job, [f"--clusters={cluster}"] if cluster else []


def _let_go(job: str, cluster: Sequence[str]) -> None:
    words = ["scontrol", *cluster, "release", job]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"job {job} is submitted, but held ({done.stderr.strip()}): {' '.join(words)} lets it start")


def _seconds(limit: str) -> int | None:
    """Seconds of a time limit, rounded up to minutes as SLURM does; None where it sets none or is not known.

    Its forms are minutes, M:S, H:M:S, D-H, D-H:M and D-H:M:S.
    """
    days, dash, clock = limit.rpartition("-")
    words = clock.split(":")
    if len(words) > 3 or not all(word.isdigit() for word in (*words, days or "0")):
        return None
    numbers = [int(word) for word in words]
    if dash:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *numbers, 0], 2: [0, *numbers], 3: numbers}[len(numbers)]
    total = 86400 * int(days or 0) + 3600 * hours + 60 * minutes + seconds
    return -(-total // 60) * 60 or None
