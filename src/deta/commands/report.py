"""``deta report``: a page and tables of a study or a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from deta.console.naming import effective
from deta.console.terminal import reports_errors
from deta.launching.trainings import compose_training
from deta.studies.report import write_report


@reports_errors
def run(cfg: DictConfig) -> None:
    """Collect the runs, write the report and say where it is."""
    from deta.studies.collect import collect  # late: it imports PyTorch
    from deta.studies.sweeps import shown_level

    folder, out = Path(cfg.folder), Path(cfg.out)
    base = {str(axis): shown_level(level) for axis, level in (cfg.base or {}).items()}
    path = write_report(collect(folder, bootstrap=cfg.bootstrap, compose=_compose, base=base), out)
    tables = sorted(each.name for each in path.parent.iterdir() if each.suffix in (".csv", ".md", ".tex"))
    print(f"{path}\nbeside it {', '.join(tables)}")


def _compose(words: Sequence[str]) -> Mapping[str, Any] | None:
    """What decides the result of a training; None where its words name what there is no more."""
    try:
        return effective(compose_training(words))
    except (HydraException, OmegaConfBaseException):
        return None
