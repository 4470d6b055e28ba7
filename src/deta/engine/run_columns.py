"""Columns of the table of runs: what a sweep varies, in the width of a terminal."""

import shutil
import sys
from collections.abc import Mapping, Sequence

from deta.utils.names import shown

_NO_AXES = ("ckpt", "cluster", "hydra", "logger", "name", "run_dir")
"""Begins of keys that say where and how a run is done."""
_LEAST_NAME = 20
"""Letters that a cut name keeps: the seed and the hash at its end, which identify it."""
_GAP = "  "


def swept_columns(words: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Short name of every key in which the runs differ to its values by run, ``-`` where a run is not given one.

    Args:
        words: Overrides of every run that has some on record, by its name.
    """
    given = {name: dict(_pair(word) for word in own if "=" in word) for name, own in words.items()}
    keys = dict.fromkeys(key for own in given.values() for key in own if not key.startswith(_NO_AXES))
    varied = [key for key in keys if len({own.get(key) for own in given.values()}) > 1]
    return {
        title: {name: own.get(key, "-") for name, own in given.items()}
        for title, key in zip(_titles(varied), varied, strict=True)
    }


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int], width: int | None) -> list[str]:
    """Rows as lines of aligned columns, the first row being the heading and the first column the names.

    Args:
        rows: Of equal length; the last column holds messages, which may take what is left of the line.
        numbers: Places of the columns that are set to the right.
        width: Letters of a line; names are cut at their begin, messages at their end, and columns between them are
            left out from the right, where they do not fit. None is no limit.
    """
    table = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    if width is not None:
        table, widths = _cut(table, widths, width)
    lines = []
    for row in table:
        cells = [
            cell.rjust(each) if place in numbers else cell.ljust(each)
            for place, (cell, each) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def terminal_width() -> int | None:
    """Letters of a line of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _cut(table: list[list[str]], widths: list[int], width: int) -> tuple[list[list[str]], list[int]]:
    """Table and widths of its columns so that all but the messages fit, and the messages are what room is left."""
    name, *middle, _ = widths
    least = min(name, _LEAST_NAME)
    while len(middle) > 1 and least + sum(len(_GAP) + each for each in middle) > width:
        middle.pop()
    taken = sum(len(_GAP) + each for each in middle)
    name = max(least, min(name, width - taken))
    room = max(0, width - name - taken - len(_GAP))
    cut = [[_end(row[0], name), *row[1 : len(middle) + 1], _begin(row[-1], room)] for row in table]
    return cut, [name, *middle, 0]


def _end(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[len(text) - length + 1 :]}"


def _begin(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: max(0, length - 1)]}…"[:length]


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key.lstrip("+"), value.strip("'\"")


def _titles(keys: Sequence[str]) -> list[str]:
    """The last word of each key, with the one before it where two end alike."""
    parts = [key.replace("@", ".").split(".") for key in keys]
    last = [each[-1] for each in parts]
    return [".".join(each[-2:]) if last.count(each[-1]) > 1 else each[-1] for each in parts]
