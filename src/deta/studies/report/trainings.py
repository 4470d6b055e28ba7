"""Cells that are the same runs under several selections of detections, and how each looks in every chart."""

from dataclasses import dataclass
from pathlib import Path

from deta.studies.labels import has_selections, is_base, label
from deta.studies.results import Cell, Comparison, Run

NUM_COLOURS = 6
"""Colours of the page beside that of the base, which colour-blind readers can tell apart."""
DASHES = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "7 3 2 3"}
"""Where there are more trainings than colours, the dashes tell them apart: Plotly's names, and as SVG writes them."""
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")


@dataclass(frozen=True)
class Training:
    """Runs that differ in nothing but the seed.

    Attributes:
        cells: Places in the comparison of the cells that they are, one for each selection of detections.
        runs: In the order of the seeds.
        label: What differs from the base.
        colour: A variable of the page's style; the base has that of the text.
        dash: Of lines.
    """

    cells: tuple[int, ...]
    runs: tuple[Run, ...]
    label: str
    colour: str
    dash: str


def trainings(comparison: Comparison) -> tuple[Training, ...]:
    """In the order of the cells."""
    groups: dict[tuple[Path, ...], list[int]] = {}
    for index, cell in enumerate(comparison.cells):
        groups.setdefault(tuple(run.folder for run in cell.runs), []).append(index)
    found = []
    num_coloured = 0
    for cells in groups.values():
        first = comparison.cells[cells[0]]
        if any(is_base(comparison, comparison.cells[index]) for index in cells):
            colour, dash = "var(--ink)", "solid"
        else:
            colour = f"var(--cell-{num_coloured % NUM_COLOURS})"
            dash = list(DASHES)[num_coloured // NUM_COLOURS % len(DASHES)]
            num_coloured += 1
        found.append(Training(tuple(cells), first.runs, _without_selection(comparison, first), colour, dash))
    return tuple(found)


def symbol(comparison: Comparison, cell: Cell) -> str:
    """Plotly's marker of a selection of detections."""
    selections = list(dict.fromkeys(each.postprocess for each in comparison.cells))
    return _SYMBOLS[selections.index(cell.postprocess) % len(_SYMBOLS)]


def _without_selection(comparison: Comparison, cell: Cell) -> str:
    words = label(comparison, cell)
    return words.removesuffix(f", {cell.postprocess}") if has_selections(comparison) else words
