"""``deta weights get``: published weights, downloaded once."""

from omegaconf import DictConfig, ListConfig

from deta.console.terminal import reports_errors
from deta.zoo import Places, entry, find


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print where the files lie, and under which licence."""
    names = list(cfg.name) if isinstance(cfg.name, ListConfig) else [cfg.name]
    for weights in [entry(str(name)) for name in names]:
        path = find(weights.name, Places.of(cfg.paths.weights, cfg.paths.cache))
        print(f"{path}: {weights.name}, {weights.licence} ({weights.repository})")
