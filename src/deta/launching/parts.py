"""The parts in which a run has trained, each with its own settings; nothing here imports PyTorch."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deta.console.naming import effective
from deta.runs.config import read_config
from deta.runs.former import with_present_names
from deta.studies.settings import differences

_OF_BEST = ("callbacks.best.monitor", "callbacks.best.mode")
"""What decides which weights are the best: no part of a run's name, but of what is made of it."""


def num_parts(folder: Path) -> int:
    """How often a run has begun to train."""
    return len(list(folder.glob("environment*.json")))


def last_config(folder: Path) -> DictConfig | None:
    """Resolved settings with which a run has trained last; None if it has not.

    Raises:
        OSError: They cannot be read.
        ValueError: They are damaged, see ``read_config``.
    """
    last = num_parts(folder) - 1
    if last < 0:
        return None
    return OmegaConf.create(read_config(folder / f"config{f'-{last}' if last else ''}.yaml"))


def changed_settings(before: DictConfig, now: DictConfig) -> dict[str, tuple[object, object]]:
    """In what two configurations differ that decides a result, as ``differences``; a renaming is no change.

    ``effective`` gives classes by the names they had first, of which runs have their hashes; both are told by those of
    today. Which weights are the best decides no training, but what is made of it.
    """
    first, second = (with_present_names(effective(config)) for config in (before, now))
    chosen = {key: (OmegaConf.select(before, key), OmegaConf.select(now, key)) for key in _OF_BEST}
    return {**differences(first, second), **{key: pair for key, pair in chosen.items() if pair[0] != pair[1]}}
