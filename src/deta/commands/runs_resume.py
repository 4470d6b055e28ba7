"""``deta runs resume``: do what is not done of a folder of runs."""

import os
import subprocess
import sys
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from deta.commands import slurm
from deta.commands.console import reports_errors
from deta.commands.words import given_words, job_words, recorded_words, training_words
from deta.engine.runs import RunState, find_runs, read_cells, read_statuses, table
from deta.utils.checks import require_choice


@reports_errors
def run(cfg: DictConfig) -> None:
    """Start every run that is neither done nor running nor queued, here or as a job array; exit with 1 if one fails."""
    folder = Path(cfg.folder)
    cluster = require_choice("cluster", HydraConfig.get().runtime.choices["cluster"], ("none", "sbatch"))
    statuses = read_statuses(find_runs(folder))
    print(table(statuses, folder))
    taken = (RunState.DONE, RunState.RUNNING, RunState.QUEUED)
    open_runs = [status.folder for status in statuses if status.state not in taken]
    extra = [str(word) for word in cfg.overrides]
    commands = {path: job_words([*_overrides(path), *extra], path) for path in open_runs}
    if not commands or cfg.dry_run:
        for words in commands.values():
            print("deta train", *words)
        return
    if cluster == "sbatch":
        _submit(commands, folder)
        return
    environment = {name: value for name, value in os.environ.items() if name != "DETA_CHILD_COMMAND"}
    codes = {
        path: subprocess.run([sys.executable, "-m", "deta", "train", *words], check=False, env=environment).returncode
        for path, words in commands.items()
    }
    print(f"\n{table(read_statuses(find_runs(folder)), folder)}")
    if any(codes.values()):
        sys.exit(1)


def _overrides(path: Path) -> list[str]:
    """The words that made a run, or that would make a cell of a sweep.

    Raises:
        ValueError: Neither is on record.
    """
    words = recorded_words(path)
    if words is not None:
        return words
    for parent in path.parents:
        cells = read_cells(parent)
        if cells and str(path.relative_to(parent)) in cells:
            return cells[str(path.relative_to(parent))]
    raise ValueError(f"{path}: no record of its overrides (.hydra/overrides.yaml), so it cannot be continued from here")


def _submit(commands: dict[Path, list[str]], folder: Path) -> None:
    """Submit with the options that the first of the runs gives, and those of this command line."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    words = training_words(next(iter(commands.values())))
    given = [word for word in given_words(HydraConfig.get().overrides.task) if "cluster" in word.partition("=")[0]]
    composed = hydra.compose_config("train", [*words, *given], run_mode=RunMode.RUN)
    HydraConfig.instance().set_config(composed)  # the name of the experiment is its choice, not one of this command
    options = OmegaConf.to_container(composed.cluster.options, resolve=True)
    assert isinstance(options, dict)
    named = {str(name): value for name, value in options.items()}
    job = slurm.submit(commands, named, folder, max_parallel=composed.cluster.max_parallel)
    print(f"Submitted job {job}: {len(commands)} runs; deta runs folder={folder} shows them")
