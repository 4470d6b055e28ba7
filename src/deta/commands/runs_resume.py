"""``deta runs resume``: do what is not done of a folder of runs."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from deta.building.reach import require_near
from deta.building.trust import Trust, remembered, require_names
from deta.building.word_trust import require_trusted, trusts_all_words
from deta.console.datasets import require_same_data
from deta.console.quoting import shell_line
from deta.console.terminal import reports_errors
from deta.console.words import job_words, recorded_words, training_words
from deta.launching.finished import first_start
from deta.launching.parts import last_config
from deta.launching.trainings import further_words, run_here, submit
from deta.runs.cells import find_cell
from deta.runs.data_record import DATA
from deta.runs.folders import find_runs
from deta.runs.state import TAKEN, RunState, RunStatus, read_statuses
from deta.runs.table import table, terminal_width
from deta.utils.checks import require_choice
from deta.utils.terminal import show


@reports_errors
def run(cfg: DictConfig) -> None:
    """Start every run that is neither done nor running nor queued, here or as a job array; exit with 1 if one fails.

    A run whose command is wrong, or not on record, is not started but told.
    """
    folder = Path(cfg.folder)
    cluster = require_choice("cluster", HydraConfig.get().runtime.choices["cluster"], ("none", "sbatch"))
    statuses = read_statuses(find_runs(folder))
    show(table(statuses, folder, width=terminal_width()))
    open_runs = [status.folder for status in statuses if status.state not in TAKEN]
    outside = [path for path in open_runs if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts]
    if outside:
        raise ValueError(f"{folder} lists {outside[0]}, which lies outside of it: a sweep trains in its own folder")
    commands, num_wrong = _commands(statuses, further_words(cfg), cfg.trusted)
    num_wrong += _trained_with_other_data((each.folder for each in statuses if each.state == RunState.DONE), cfg)
    if not commands or cfg.dry_run:
        if commands and cluster == "sbatch":
            submit(commands, folder, dry_run=True)
        for words in commands.values():
            print("deta train", shell_line(words))
        sys.exit(1 if num_wrong else 0)
    if cluster == "sbatch":
        submit(commands, folder)
        sys.exit(1 if num_wrong else 0)
    trainings = {path: ["train", *words] for path, words in commands.items()}
    log = None if cfg.parallel == 1 else "training.log"
    codes = [ended.code for ended in run_here(trainings, parallel=cfg.parallel, threads=cfg.threads, log=log)]
    show(f"\n{table(read_statuses(find_runs(folder)), folder, width=terminal_width())}")
    if any(codes) or num_wrong:
        sys.exit(1)


def _commands(
    statuses: Iterable[RunStatus],
    extra: list[str],
    trusted: Any,  # noqa: ANN401 - what the command line gave
) -> tuple[dict[Path, list[str]], int]:
    """Run directory to the words of its ``deta train``, where there is something to do.

    What is left out is told; the second value counts those of which no words can be taken.
    """
    commands: dict[Path, list[str]] = {}
    refused, unknown = [], 0
    for status in statuses:
        if status.state in TAKEN:
            continue
        if status.is_refused and not extra:
            refused.append(f"{status.folder}: {status.message}")
            continue
        try:
            words = [*_overrides(status.folder, trusted), *extra]
            commands[status.folder] = job_words(words, status.folder, first_start(status.folder))
        except (ValueError, OSError) as error:
            print(f"deta: {status.folder} is not tried: {error}", file=sys.stderr)
            unknown += 1
    if refused:
        print("\nNot tried, since their commands would fail again; overrides=[...] may mend them, or remove them:")
        print("".join(f"  {line}\n" for line in refused))
    return commands, unknown


def _trained_with_other_data(runs: Iterable[Path], cfg: DictConfig) -> int:
    """Tell of runs whose annotations have changed since, not of those that lie elsewhere now; returns their number."""
    others = 0
    for run in runs:
        config = last_config(run)
        if config is None or not (run / DATA).is_file():
            continue
        try:
            require_same_data(_readable(config, run, cfg), [run])
        except FileNotFoundError:
            continue
        except ValueError as error:
            print(f"deta: {error}", file=sys.stderr)
            others += 1
    return others


def _readable(config: DictConfig, run: Path, cfg: DictConfig) -> DictConfig:
    """The settings of a run, which may be of somebody else, for reading its data with the caches of this command.

    Raises:
        ValueError: They reach further, see ``require_near``, and the user does not trust them.
    """
    if not trusts_all_words(cfg.trusted):
        trust = Trust(run, (*require_names(cfg.trusted), *remembered(run)))
        require_near(OmegaConf.to_container(config.data), "data", trust)
    caches = {"paths": {"cache": cfg.paths.cache}, "data": {"shard_cache": f"{cfg.paths.cache}/shards"}}
    merged = OmegaConf.merge(config, caches)
    assert isinstance(merged, DictConfig)
    return merged


def _overrides(path: Path, trusted: Any) -> list[str]:  # noqa: ANN401 - what the command line gave
    """The words that made a run, or that would make a cell of a sweep.

    Raises:
        ValueError: Neither is on record, or they need trust, see ``require_trusted``.
    """
    words = find_cell(path)
    try:
        recorded = recorded_words(path)
    except (ValueError, OSError):
        if words is None:
            raise
        recorded = None  # damaged, but the sweep knows them
    if recorded is None and words is None:
        raise ValueError("there is no words.json and no sweep that lists it")
    return require_trusted(training_words(recorded or words or []), path, trusted)
