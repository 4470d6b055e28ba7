"""The list of a sweep: the runs that it asks for, whether they have started or not."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from deta.runs.former_words import present_words
from deta.utils.files import read_json, write_json

_log = logging.getLogger(__name__)

CELLS = "cells.json"
"""In the directory of a sweep: run directory of every cell to the overrides that make it."""
WORDS = "words.json"
"""In a run directory: the words with which it is continued, those of the latest part that began to train."""
_SECONDS_OF_LOCK = 15


def read_cells(folder: Path) -> dict[str, list[str]]:
    """Overrides of every cell of a sweep by the name of its run directory; empty if there was no sweep.

    They are in the names that keys have now. Of a damaged list a warning tells; then cells that have not started are
    unknown.
    """
    try:
        cells = read_json(folder / CELLS, dict[str, list[str]])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s; runs of this sweep that have not started are unknown until it is started again", error)
        return {}
    return {name: present_words(words) for name, words in cells.items()}


def find_cell(run: Path) -> list[str] | None:
    """Overrides that would make a run, which need not have started; None if no sweep lists it."""
    for parent in run.parents:
        words = read_cells(parent).get(str(run.relative_to(parent)))
        if words is not None:
            return words
    return None


def known_words(run: Path) -> list[str] | None:
    """Overrides of a run: those by which a sweep lists it, else its own; None if neither is on record or readable."""
    words = find_cell(run)
    if words is not None:
        return words
    try:
        return present_words(read_json(run / WORDS, list[str]))
    except (OSError, ValueError):
        return None


def values_of(words: Iterable[str]) -> dict[str, str]:
    """What overrides give, by key."""
    pairs = (word.partition("=") for word in words)
    return {key.lstrip("+"): value.strip("'\"") for key, sign, value in pairs if sign}


def add_cells(folder: Path, cells: Mapping[str, Iterable[str]]) -> None:
    """Add cells to the list of a sweep, to which other processes may be adding theirs.

    A lock of ``flufl.lock`` works on network file systems, too, and its lifetime is far longer than this takes.

    Raises:
        TimeoutError: Another process has kept the list locked for a minute.
    """
    from flufl.lock import Lock, TimeOutError  # late: it costs more than the rest of a command that lists runs

    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(str(folder / f"{CELLS}.lock"), lifetime=_SECONDS_OF_LOCK, default_timeout=4 * _SECONDS_OF_LOCK)
    try:
        with lock:
            own = {name: list(words) for name, words in cells.items()}
            write_json(folder / CELLS, {**read_cells(folder), **own})
    except TimeOutError as error:
        raise TimeoutError(f"{lock.lockfile} is held: if no other sweep is starting here, remove it") from error
