"""``deta runs``: the state of every run in a folder."""

import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from deta.console.terminal import reports_errors
from deta.runs.folders import find_runs
from deta.runs.state import read_statuses
from deta.runs.table import table, terminal_width
from deta.utils.terminal import show


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print a table."""
    folder = Path(cfg.folder)
    statuses = table(read_statuses(find_runs(folder)), folder, width=terminal_width())
    try:
        show(statuses)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
