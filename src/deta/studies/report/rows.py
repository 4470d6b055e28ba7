"""Rows of the page's tables: texts with how they look and sort, and intervals drawn to one scale."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deta.studies.ablation import SEEDS_TITLE, all_runs, number
from deta.studies.labels import is_base
from deta.studies.report.trainings import Training
from deta.studies.results import PRIMARY, Cell, Comparison, Interval, Verdict
from deta.studies.tables import ABSENT, Column, Entry, Table
from deta.utils.wording import POINTS

STRIP_SIZE = (150, 20)
"""Pixels of a drawn interval."""
_MOST_OF_FIRM = 1.5
"""Intervals over seeds stretch the scale up to so many times the rest: two seeds would flatten all others."""
_LONG = ("message", "run")
"""Columns whose texts may break."""
_VERDICTS = {str(Verdict.BETTER): "better", str(Verdict.WORSE): "worse"}


@dataclass(frozen=True)
class Strip:
    """A difference and its intervals as places from the left, in pixels; None is an interval that there is not."""

    zero: float
    mean: float
    seeds: tuple[float, float] | None
    images: tuple[float, float] | None


@dataclass(frozen=True)
class Shown:
    """An entry: its text, the classes by which it looks, and the value by which it sorts, empty where there is none."""

    title: str
    text: str
    kind: str
    order: str
    strip: Strip | None = None


@dataclass(frozen=True)
class Row:
    """A row that is shown while one of its cells is; one with a training begins with its line."""

    cells: tuple[int, ...]
    entries: tuple[Shown, ...]
    kind: str = ""
    training: Training | None = None


@dataclass(frozen=True)
class Scale:
    """What the drawn intervals span, in points."""

    low: float
    high: float

    def ends(self) -> tuple[str, str]:
        """Both ends in words."""
        decimals = max(1, -math.floor(math.log10(max(-self.low, self.high))))
        return number(self.low, decimals, has_sign=True), number(self.high, decimals, has_sign=True)

    def place(self, score: float) -> float:
        """Pixels from the left."""
        return STRIP_SIZE[0] * (POINTS * score - self.low) / (self.high - self.low)

    def strip(self, cell: Cell) -> Strip | None:
        """The drawn difference of a cell, if it has one."""
        found = cell.difference
        if found is None:
            return None
        seeds, images = (
            None if interval is None else (self.place(interval.low), self.place(interval.high))
            for interval in (found.over_seeds, found.over_images)
        )
        return Strip(self.place(0.0), self.place(found.mean), seeds, images)


def cell_rows(comparison: Comparison, table: Table, trainings: Sequence[Training]) -> list[Row]:
    """The ablation table, with the line of every cell and its difference drawn."""
    looks = {index: training for training in trainings for index in training.cells}
    scale = scale_of(comparison.cells)
    rows = []
    for index, (cell, entries) in enumerate(zip(comparison.cells, table.rows, strict=True)):
        shown = tuple(_shown(column, entry, cell, scale) for column, entry in zip(table.columns, entries, strict=True))
        kinds = ["base"] if is_base(comparison, cell) else []
        kinds += [] if cell.is_complete else ["incomplete"]
        rows.append(Row((index,), shown, " ".join(kinds), looks[index]))
    return rows


def run_rows(comparison: Comparison, table: Table) -> list[Row]:
    """The table of all runs; a run may be part of several cells."""
    folders = [{run.folder for run in cell.runs} for cell in comparison.cells]
    rows = []
    for run, entries in zip(all_runs(comparison), table.rows, strict=True):
        cells = tuple(place for place, members in enumerate(folders) if run.folder in members)
        rows.append(Row(cells, tuple(_shown(*pair) for pair in zip(table.columns, entries, strict=True))))
    return rows


def scale_of(cells: Iterable[Cell]) -> Scale:
    """Of the differences of all cells, with zero in it; what reaches farther runs into the edge."""
    differences = [cell.difference for cell in cells if cell.difference is not None]
    firm = [0.0, *(POINTS * found.mean for found in differences)]
    firm += _ends(found.over_images for found in differences)
    limit = _MOST_OF_FIRM * max(map(abs, firm))
    loose = [min(max(end, -limit), limit) for end in _ends(found.over_seeds for found in differences)]
    low, high = min(firm + loose), max(firm + loose)
    margin = 0.06 * (high - low) or 1.0
    return Scale(low - margin, high + margin)


def _ends(intervals: Iterable[Interval | None]) -> list[float]:
    """In points."""
    return [POINTS * end for interval in intervals if interval is not None for end in (interval.low, interval.high)]


def _shown(column: Column, entry: Entry, cell: Cell | None = None, scale: Scale | None = None) -> Shown:
    is_drawn = column.title == SEEDS_TITLE
    strip = scale.strip(cell) if is_drawn and cell is not None and scale is not None else None
    kinds = {
        "number": column.is_number,
        "long": column.title in _LONG,
        "missing": cell is not None and column.title == PRIMARY and PRIMARY not in cell.summary,
        "state": column.title == "seeds",
        "absent": entry.text == ABSENT and strip is None,
        "drawn": is_drawn,
        _VERDICTS.get(entry.text, ""): column.title == "verdict",
    }
    value = entry.values[0]
    return Shown(
        title=column.title,
        text=entry.text,
        kind=" ".join(kind for kind, applies in kinds.items() if kind and applies),
        order="" if value is None else str(value),
        strip=strip,
    )
