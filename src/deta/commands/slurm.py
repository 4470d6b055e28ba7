"""Submitting trainings to SLURM by ``sbatch``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from deta.engine.runs import mark_queued
from deta.utils.checks import require_int


def submit(
    runs: Mapping[Path, Sequence[str]], options: Mapping[str, Any], folder: Path, *, max_parallel: int | None = None
) -> str:
    """Submit trainings as one job, or as one job array where there are several.

    Args:
        runs: Run directory to the words of ``deta train``.
        options: Options of ``sbatch`` without dashes; those that are None are left out.
        folder: Where the list of the runs and the output of the jobs go.
        max_parallel: Jobs that run at once; None is all.

    Returns:
        The id of the job.

    Raises:
        FileNotFoundError: There is no ``sbatch`` here.
        ValueError: SLURM refuses the job, or a word has a line break.
    """
    if shutil.which("sbatch") is None:
        raise FileNotFoundError("sbatch is not found: submit from a login node of a SLURM cluster, or use cluster=none")
    places = []
    for run, words in runs.items():
        run.mkdir(parents=True, exist_ok=True)
        if any("\n" in word for word in (*words, str(run))):
            raise ValueError(f"{run}: a word of the command has a line break, which the list of a job cannot hold")
        (run / "overrides.txt").write_text("".join(f"{word}\n" for word in words))
        places.append(str(run.resolve()))
    logs = (folder / "slurm").resolve()
    logs.mkdir(parents=True, exist_ok=True)
    listing = logs / f"{datetime.now():%Y-%m-%d_%H-%M-%S_%f}.txt"
    listing.write_text("".join(f"{place}\n" for place in places))
    arguments = [f"--{name}={value}" for name, value in options.items() if value is not None]
    if len(places) > 1:
        limit = "" if max_parallel is None else f"%{require_int('cluster.max_parallel', max_parallel, low=1)}"
        arguments += [f"--array=0-{len(places) - 1}{limit}", f"--output={logs}/%A_%a.log"]
    else:
        arguments += [f"--output={logs}/%j.log"]
    command = ["sbatch", "--parsable", *arguments, str(template()), sys.executable, str(listing)]
    environment = {name: value for name, value in os.environ.items() if name != "DETA_CHILD_COMMAND"}
    answer = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if answer.returncode:
        raise ValueError(f"sbatch refuses the job ({answer.stderr.strip()}): see cluster.options")
    job = answer.stdout.strip().partition(";")[0]
    for index, run in enumerate(runs):
        mark_queued(run, job if len(places) == 1 else f"{job}_{index}")
    return job


def template() -> Path:
    """The batch script: inside an installed package, or in ``scripts/slurm`` of a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "slurm", package.parents[1] / "scripts" / "slurm"):
        if (folder / "train.sbatch").is_file():
            return folder / "train.sbatch"
    raise FileNotFoundError(f"no train.sbatch beside {package}: reinstall deta")
