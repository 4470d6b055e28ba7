"""The table of runs, with what a sweep varies, in the width of a terminal.

Where it is too narrow, tables of rich cut numbers and names; here columns go on below, and nothing is left out.
"""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deta.runs.cells import find_cell, known_words, values_of
from deta.runs.state import RunState, RunStatus
from deta.utils.names import short_keys, shown
from deta.utils.wording import points

_NO_AXES = ("ckpt", "cluster", "hydra", "logger", "name", "run_dir")
"""Begins of keys that say where and how a run is done."""
_MOST_COLUMNS = 6
"""Keys in which single trainings may differ; those that differ in more are no trainings of one question."""
_LEAST_NAME = 20
"""Letters that a cut name keeps: the seed and the hash at its end, which identify it."""
_GAP = "  "
_INDENT = 4
"""Letters before a message that stands below its row."""
_FOLDS = re.compile(r"[^_ .]+[_ .]*|[_ .]+")
"""Parts of a heading, which may stand below each other."""


def table(runs: Iterable[RunStatus], root: Path, *, width: int | None = None) -> str:
    """One line for each run, with the words in which runs differ, and a line of counts; ``width`` as in ``aligned``."""
    runs = list(runs)
    names = [_name(run.folder, root) for run in runs]
    columns = _columns(dict(zip(names, (run.folder for run in runs), strict=True)))
    rows = [["run", "state", "steps", "saved", "AP", "of epoch", *columns, ""]]
    for name, run in zip(names, runs, strict=True):
        step, saved, epoch = ("-" if each is None else str(each) for each in (run.step, run.saved, run.metric_epoch))
        metric = "-" if run.metric is None else points(run.metric)
        swept = (each.get(name, "-") for each in columns.values())
        rows.append([name, run.state, step, saved, metric, epoch, *swept, run.message])
    counts = {state: sum(run.state == state for run in runs) for state in RunState}
    total = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no runs"
    return "\n".join([*aligned(rows, numbers=(2, 3, 4, 5), width=width), total])


def _columns(folders: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """In what the runs differ, as ``swept_columns``; in what those of sweeps do where all of them differ in much."""
    for find in (known_words, find_cell):
        words = {name: find(folder) for name, folder in folders.items()}
        columns = swept_columns({name: given for name, given in words.items() if given is not None})
        if len(columns) <= _MOST_COLUMNS:
            break
    return columns


def _name(run: Path, root: Path) -> str:
    """What a run is called in a table; a damaged list may name one outside of the folder."""
    if run == root:
        return run.name
    return str(run.relative_to(root) if run.is_relative_to(root) else run)


def swept_columns(words: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Short name of every key in which the runs differ to its values by run, ``-`` where a run is not given one.

    Args:
        words: Overrides of every run that has some on record, by its name.
    """
    given = {name: values_of(own) for name, own in words.items()}
    keys = dict.fromkeys(key for own in given.values() for key in own if not key.startswith(_NO_AXES))
    varied = [key for key in keys if len({own.get(key) for own in given.values()}) > 1]
    return {
        title: {name: own.get(key, "-") for name, own in given.items()} for key, title in short_keys(varied).items()
    }


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int], width: int | None, num_names: int = 1) -> list[str]:
    """Rows as lines of aligned columns, the first row being the heading.

    Args:
        rows: Of equal length; the last column holds messages, which go on in lines of their own where the rest of the
            line is too short.
        numbers: Places of the columns that are set to the right.
        width: Letters of a line, or None for no limit. Where the columns do not fit, headings are folded, then names
            cut at their begin, then columns continue in a further block that repeats the names: none is left out. A
            cell that alone is wider is cut, which an ellipsis shows.
        num_names: Leading columns that tell what a row is about.
    """
    heading, *body = [[shown(cell) for cell in row] for row in rows]
    titles = [[title] for title in heading]
    if width is not None and sum(_widths(titles, body)[:-1]) + len(_GAP) * (len(titles) - 2) > width:
        titles = [[part.strip() for part in _FOLDS.findall(title)] or [title] for title in heading]
    widths = _widths(titles, body)
    blocks = [list(range(num_names, len(widths) - 1))]
    if width is not None:
        widths[0] = max(
            min(widths[0], _LEAST_NAME), min(widths[0], width - sum(len(_GAP) + each for each in widths[1:-1]))
        )
        blocks = _blocks(widths, width, num_names)
    height = max(len(title) for title in titles)
    tops = [[*[""] * (height - len(title)), *title] for title in titles]
    table = [*([top[line] for top in tops] for line in range(height)), *body]
    lines: list[str] = []
    for block in blocks:
        is_last = block is blocks[-1]
        for row in table:
            lines += _lines(row, [*range(num_names), *block], widths, numbers, width, row[-1] if is_last else "")
        lines += [] if is_last else [""]
    return lines


def terminal_width() -> int | None:
    """Letters of a line: what ``COLUMNS`` says, else of the terminal; None where the output goes elsewhere."""
    is_given = os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if is_given or sys.stdout.isatty() else None


def _widths(titles: Sequence[Sequence[str]], body: Sequence[Sequence[str]]) -> list[int]:
    """Letters of the widest cell of every column, folded headings included."""
    cells = ([*title, *(row[place] for row in body)] for place, title in enumerate(titles))
    return [max(len(cell) for cell in column) for column in cells]


def _blocks(widths: list[int], width: int, num_names: int) -> list[list[int]]:
    """Places of the columns beside the names, in blocks that fit; ``widths`` of columns that never do are reduced."""
    names = sum(widths[:num_names]) + len(_GAP) * (num_names - 1)
    blocks: list[list[int]] = [[]]
    taken = names
    for place in range(num_names, len(widths) - 1):
        widths[place] = max(1, min(widths[place], width - names - len(_GAP)))
        needed = len(_GAP) + widths[place]
        if blocks[-1] and taken + needed > width:
            blocks.append([])
            taken = names
        blocks[-1].append(place)
        taken += needed
    return blocks


def _lines(
    row: Sequence[str],
    places: Sequence[int],
    widths: Sequence[int],
    numbers: Sequence[int],
    width: int | None,
    message: str,
) -> list[str]:
    """One row: its cells, then its message, beside them or below."""
    cells = []
    for place in places:
        cell = _end(row[place], widths[place]) if place == 0 else _begin(row[place], widths[place])
        cells.append(cell.rjust(widths[place]) if place in numbers else cell.ljust(widths[place]))
    line = _GAP.join(cells)
    if width is None or len(line) + len(_GAP) + len(message) <= width:
        return [f"{line}{_GAP}{message}".rstrip()]
    indent = " " * min(_INDENT, width // 2)
    return [line.rstrip(), *textwrap.wrap(message, width, initial_indent=indent, subsequent_indent=indent)]


def _end(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[len(text) - length + 1 :]}"


def _begin(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: max(0, length - 1)]}…"
