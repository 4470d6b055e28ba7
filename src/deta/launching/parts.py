"""The parts in which a run has trained, each with its own settings; nothing here imports PyTorch."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from deta.runs.config import read_config


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
