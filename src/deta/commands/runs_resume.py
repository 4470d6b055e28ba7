"""``deta runs resume``: do what is not done of a folder of runs."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from deta.commands.console import reports_errors
from deta.commands.trainings import TAKEN, run_here, submit
from deta.commands.word_trust import require_trusted
from deta.commands.words import job_words, recorded_words, training_words
from deta.engine.runs import find_cell, find_runs, read_statuses, table
from deta.utils.checks import require_choice


@reports_errors
def run(cfg: DictConfig) -> None:
    """Start every run that is neither done nor running nor queued, here or as a job array; exit with 1 if one fails."""
    folder = Path(cfg.folder)
    cluster = require_choice("cluster", HydraConfig.get().runtime.choices["cluster"], ("none", "sbatch"))
    statuses = read_statuses(find_runs(folder))
    print(table(statuses, folder))
    open_runs = [status.folder for status in statuses if status.state not in TAKEN]
    outside = [path for path in open_runs if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts]
    if outside:
        raise ValueError(f"{folder} lists {outside[0]}, which lies outside of it: a sweep trains in its own folder")
    extra = [str(word) for word in cfg.overrides]
    commands = {path: job_words([*_overrides(path, cfg.trusted), *extra], path) for path in open_runs}
    if not commands or cfg.dry_run:
        for words in commands.values():
            print("deta train", *words)
        return
    if cluster == "sbatch":
        job = submit(commands, folder)
        print(f"Submitted job {job}: {len(commands)} runs; deta runs folder={folder} shows them")
        return
    trainings = {path: ["train", *words] for path, words in commands.items()}
    log = None if cfg.parallel == 1 else "training.log"
    codes = [ended.code for ended in run_here(trainings, parallel=cfg.parallel, threads=cfg.threads, log=log)]
    print(f"\n{table(read_statuses(find_runs(folder)), folder)}")
    if any(codes):
        sys.exit(1)


def _overrides(path: Path, trusted: Any) -> list[str]:  # noqa: ANN401 - what the command line gave
    """The words that made a run, or that would make a cell of a sweep.

    Raises:
        ValueError: Neither is on record, or they need trust, see ``require_trusted``.
    """
    words = recorded_words(path)
    if words is None:
        words = find_cell(path)
    if words is None:
        raise ValueError(
            f"{path}: no record of its overrides (.hydra/overrides.yaml), so it cannot be continued from here"
        )
    return require_trusted(training_words(words), path, trusted)
