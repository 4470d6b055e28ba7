"""``deta runs``: the state of every run in a folder."""

import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from deta.commands.console import reports_errors
from deta.engine.runs import find_runs, read_statuses, table


@reports_errors
def run(cfg: DictConfig) -> None:
    """Print a table."""
    folder = Path(cfg.folder)
    try:
        print(table(read_statuses(find_runs(folder)), folder), flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
