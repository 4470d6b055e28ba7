"""The parts in which a run has trained, each with its own settings; nothing here imports PyTorch."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def num_parts(folder: Path) -> int:
    """How often a run has begun to train."""
    return len(list(folder.glob("environment*.json")))


def last_config(folder: Path) -> DictConfig | None:
    """Resolved settings with which a run has trained last; None if it has not."""
    last = num_parts(folder) - 1
    if last < 0:
        return None
    config = OmegaConf.load(folder / f"config{f'-{last}' if last else ''}.yaml")
    assert isinstance(config, DictConfig)
    return config
