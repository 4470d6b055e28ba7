"""Which folders hold runs."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from deta.runs.cells import WORDS, read_cells
from deta.runs.claims import RUNNING
from deta.runs.state import DONE, FAILED, QUEUED, has_checkpoint

_log = logging.getLogger(__name__)

_OF_TRAINING = (DONE, FAILED, RUNNING, QUEUED, WORDS, "metrics.jsonl")
"""Files that ``deta train`` alone writes."""
LOGS_OF_OTHERS = ("data_assign.log", "data_show.log", "data_stats.log", "eval.log", "predict.log")
"""Logs of the commands that keep one beside their results, as ``deta train`` does."""
_OF_OTHERS = ("metrics.json", "predictions.json", "matches.npz", "evaluation.json", *LOGS_OF_OTHERS)
"""Files that other commands write, never ``deta train`` in the directory of a run itself."""
_HYDRA_OF_TRAINING = re.compile(r"^\s+config_name: train$", re.MULTILINE)


def find_runs(folder: Path) -> list[Path]:
    """Run directories at or below ``folder``, those named in a sweep's list included, sorted.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give a folder of runs")
    return sorted(set(_runs_below(folder, set())))


def require_no_other_results(folder: Path) -> None:
    """Refuse to train where another command has written, which may be the results of any model.

    Raises:
        FileExistsError: It has.
    """
    others = [name for name in _OF_OTHERS if (folder / name).exists()]
    if others and not _has_records(folder):
        raise FileExistsError(f"{folder} holds the results of another command ({', '.join(others)}): name another one")


def _runs_below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Every real folder is looked into once, so that links in a circle end."""
    identity = folder.stat().st_dev, folder.stat().st_ino
    if identity in seen:
        return
    seen.add(identity)
    yield from (folder / name for name in read_cells(folder))
    is_run = _is_of_training(folder)
    if is_run:
        yield folder
    try:
        children = sorted(folder.iterdir())
    except PermissionError as error:
        _log.warning("left out: %s", error)
        return
    for child in children:
        is_left_out = is_run and not (child / ".hydra").is_dir()  # what a run writes, unless another began inside
        if child.is_dir() and not child.name.startswith(".") and not is_left_out:
            yield from _runs_below(child, seen)


def _is_of_training(folder: Path) -> bool:
    """Whether ``deta train`` has begun to write here.

    Other commands leave folders with a record of Hydra, too, and a training that is refused there replaces it by its
    own: such a folder is known by the log of the other command.
    """
    if _has_records(folder):
        return True
    if any((folder / name).exists() for name in LOGS_OF_OTHERS):
        return False
    try:
        return _HYDRA_OF_TRAINING.search((folder / ".hydra" / "hydra.yaml").read_text(errors="replace")) is not None
    except OSError:
        return False


def _has_records(folder: Path) -> bool:
    return any((folder / name).exists() for name in _OF_TRAINING) or has_checkpoint(folder)
