"""``deta runs``: the state of every run in a folder."""

from pathlib import Path

from omegaconf import DictConfig

from deta.commands.console import reports_errors
from deta.engine.run_columns import terminal_width
from deta.engine.runs import find_runs, read_statuses, table


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print a table."""
    folder = Path(cfg.folder)
    print(table(read_statuses(find_runs(folder)), folder, width=terminal_width()))
