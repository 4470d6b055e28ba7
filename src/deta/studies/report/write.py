"""Writing a report."""

from pathlib import Path

from deta.studies.ablation import ablation_table, runs_table
from deta.studies.report.page import page
from deta.studies.results import Comparison
from deta.studies.tables import write_tables
from deta.utils.files import write_text

PAGE = "report.html"


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write the page and its tables (``table.*`` of the cells, ``runs.*`` of the runs) and return the page's path.

    Args:
        comparison: What was collected.
        folder: Where the files go, made if need be; those of an earlier report are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(ablation_table(comparison), folder, "table")
    write_tables(runs_table(comparison), folder, "runs")
    path = folder / PAGE
    write_text(path, page(comparison))
    return path
