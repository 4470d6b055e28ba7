"""``deta report``: a page and tables of a study or a sweep."""

from pathlib import Path

from omegaconf import DictConfig

from deta.commands.console import reports_errors
from deta.studies.report import write_report


@reports_errors
def run(cfg: DictConfig) -> None:
    """Collect the runs, write the report and say where it is."""
    from deta.studies.collect import collect  # late: it imports PyTorch

    folder, out = Path(cfg.folder), Path(cfg.out)
    path = write_report(collect(folder, bootstrap=cfg.bootstrap), out)
    tables = sorted(each.name for each in path.parent.iterdir() if each.suffix in (".csv", ".md", ".tex"))
    print(f"{path}\nbeside it {', '.join(tables)}")
