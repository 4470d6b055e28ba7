"""Pieces of HTML: tables that sort and filter, intervals drawn to one scale, and the legend's lines."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence

from deta.studies.ablation import POINTS, SEEDS_TITLE, number
from deta.studies.labels import is_base
from deta.studies.report.trainings import Training
from deta.studies.results import PRIMARY, Cell, Comparison, Interval, Verdict
from deta.studies.tables import Column, Entry, Table

_WIDTH, _HEIGHT = 150, 20
"""Pixels of an interval."""
_MOST_OF_FIRM = 1.5
"""Intervals over seeds stretch the scale up to so many times the rest: two seeds would flatten all others."""
_DASH_ARRAYS = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "7 3 2 3"}
_LONG = ("message", "run")
"""Columns whose texts may break."""


def escaped(text: str) -> str:
    """A text as HTML shows it, in attributes too."""
    return html.escape(text, quote=True)


def attributes(**values: str) -> str:
    """`` name="value"`` for each, underscores as dashes."""
    return "".join(f' {name.rstrip("_").replace("_", "-")}="{escaped(value)}"' for name, value in values.items())


def cells_table(comparison: Comparison, table: Table, trainings: Sequence[Training]) -> str:
    """The ablation table, with the colour of every cell and its difference drawn."""
    looks = {index: training for training in trainings for index in training.cells}
    scale = _scale(comparison.cells)
    rows = []
    for index, (cell, row) in enumerate(zip(comparison.cells, table.rows, strict=True)):
        entries = [_row_heading(row[0], looks[index])]
        for column, entry in zip(table.columns[1:], row[1:], strict=True):
            drawn = _strip(cell, scale) if column.title == SEEDS_TITLE else ""
            entries.append(_cell(column, entry, cell, drawn))
        names = ["base"] if is_base(comparison, cell) else []
        names += [] if cell.is_complete else ["incomplete"]
        rows.append(f"<tr{attributes(data_cells=str(index), class_=' '.join(names))}>{''.join(entries)}</tr>")
    headings = [_heading(column, _scale_line(scale) if column.title == SEEDS_TITLE else "") for column in table.columns]
    return _table("cells", headings, rows)


def runs_table_markup(table: Table, cells: Sequence[Sequence[int]]) -> str:
    """A table whose rows belong to cells.

    Args:
        table: One row for each run.
        cells: For each row the places of the cells that the run is part of.
    """
    rows = []
    for places, row in zip(cells, table.rows, strict=True):
        entries = [_cell(column, entry) for column, entry in zip(table.columns, row, strict=True)]
        rows.append(f"<tr{attributes(data_cells=' '.join(map(str, places)))}>{''.join(entries)}</tr>")
    return _table("runs", [_heading(column) for column in table.columns], rows)


def swatch(colour: str, dash: str) -> str:
    """The line of a training in the charts."""
    line = attributes(stroke=colour, stroke_dasharray=_DASH_ARRAYS[dash])
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true"><path d="M1 6H25" stroke-width="3"{line}/></svg>'
    )


def _table(name: str, headings: Sequence[str], rows: Sequence[str]) -> str:
    head, body = "".join(headings), "\n".join(rows)
    return f'<table id="{name}"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'


def _heading(column: Column, drawn: str = "") -> str:
    kind = ' class="number"' if column.is_number else ""
    button = f'<button type="button">{escaped(column.title)}</button>'
    return f'<th scope="col" aria-sort="none"{kind}>{button}{drawn}</th>'


def _cell(column: Column, entry: Entry, cell: Cell | None = None, drawn: str = "") -> str:
    """An entry; where one has something ``drawn``, that stands above its text."""
    names = ["number"] if column.is_number else []
    names += ["long"] if column.title in _LONG else []
    names += ["missing"] if cell is not None and column.title == PRIMARY and PRIMARY not in cell.summary else []
    names += ["state"] if column.title == "seeds" else []
    classes = {"class_": " ".join(names)} if names else {}
    text = _marked(column.title, entry.text)
    content = f'{drawn}<span class="small">{text}</span>' if drawn else text
    return f"<td{attributes(data_value=_sort_value(entry), **classes)}>{content}</td>"


def _row_heading(entry: Entry, training: Training) -> str:
    line = swatch(training.colour, training.dash)
    return f'<th scope="row"{attributes(data_value=_sort_value(entry))}>{line}{escaped(entry.text)}</th>'


def _marked(title: str, text: str) -> str:
    """A verdict in its colour."""
    kinds: Mapping[str, str] = {str(Verdict.BETTER): "better", str(Verdict.WORSE): "worse"}
    kind = kinds.get(text) if title == "verdict" else None
    return f'<span class="{kind}">{escaped(text)}</span>' if kind else escaped(text)


def _sort_value(entry: Entry) -> str:
    value = entry.values[0]
    return "" if value is None else str(value)


def _scale(cells: Sequence[Cell]) -> Interval:
    """Ends of the drawn intervals, in points, with zero between them; what reaches farther runs into the edge."""
    differences = [cell.difference for cell in cells if cell.difference is not None]
    firm = [0.0, *(POINTS * found.mean for found in differences)]
    firm += _ends(found.over_images for found in differences)
    limit = _MOST_OF_FIRM * max(map(abs, firm))
    loose = [min(max(end, -limit), limit) for end in _ends(found.over_seeds for found in differences)]
    low, high = min(firm + loose), max(firm + loose)
    margin = 0.06 * (high - low) or 1.0
    return Interval(low - margin, high + margin)


def _ends(intervals: Iterable[Interval | None]) -> list[float]:
    """In points."""
    return [POINTS * end for interval in intervals if interval is not None for end in (interval.low, interval.high)]


def _scale_line(scale: Interval) -> str:
    ends = [number(end, 1, has_sign=True) for end in (scale.low, scale.high)]
    return f'<span class="scale" aria-hidden="true"><span>{ends[0]}</span><span>{ends[1]}</span></span>'


def _strip(cell: Cell, scale: Interval) -> str:
    """The mean as a dot on the interval over seeds (thick) and over images (thin), with a line at zero; or nothing."""
    difference = cell.difference
    if difference is None:
        return ""
    place = _placed(scale)
    zero, middle = place(0.0), _HEIGHT / 2
    parts = [f'<path d="M{zero:.1f} 0V{_HEIGHT}" stroke="var(--ink-2)" stroke-dasharray="2 2"/>']
    bars = ((difference.over_images, 1.2, "var(--ink-2)"), (difference.over_seeds, 4, "var(--accent)"))
    for interval, width, colour in bars:
        if interval is not None:
            ends = f"M{place(POINTS * interval.low):.1f} {middle}H{place(POINTS * interval.high):.1f}"
            parts.append(f'<path d="{ends}" stroke="{colour}" stroke-width="{width}"/>')
    parts.append(f'<circle cx="{place(POINTS * difference.mean):.1f}" cy="{middle}" r="4" fill="var(--ink)"/>')
    return f'<svg class="strip" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'


def _placed(scale: Interval) -> Callable[[float], float]:
    return lambda value: _WIDTH * (value - scale.low) / (scale.high - scale.low)
