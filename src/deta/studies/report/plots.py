"""What the page needs to draw a chart: traces that know their cells, and a choice of views."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_DIGITS = 6
"""Significant digits of numbers in the page; no screen shows more."""
_MOST_TICKS = 10
"""Of an axis of whole numbers."""


@dataclass(frozen=True)
class Trace:
    """A trace of Plotly, drawn while one of its cells is.

    Attributes:
        spec: As Plotly takes it; a colour may be a variable of the page's style, such as ``var(--cell-2)``.
        cells: Places of its cells in the comparison.
        grid: Of a heat map: the cell at every place of ``z``, None where there is none. Only those of cells that
            are shown are drawn.
        label: In the legend; None leaves it out.
    """

    spec: Mapping[str, Any]
    cells: tuple[int, ...]
    grid: tuple[tuple[int | None, ...], ...] | None = None
    label: str | None = None


@dataclass(frozen=True)
class View:
    """One state of a chart.

    Attributes:
        choice: The option of every control of the plot that leads here.
        traces: What is drawn.
        layout: Axes and their titles, as Plotly takes them; colours and fonts are the page's.
    """

    choice: tuple[str, ...]
    traces: tuple[Trace, ...]
    layout: Mapping[str, Any]


@dataclass(frozen=True)
class Plot:
    """A chart with its controls.

    Attributes:
        name: Identifies it in the page.
        title: Heading.
        caption: How to read it.
        controls: Name of every choice.
        views: One for each combination of options that exists; empty where the data are absent.
        absent: Why there is nothing, shown instead where ``views`` is empty.
    """

    name: str
    title: str
    caption: str
    controls: tuple[str, ...]
    views: tuple[View, ...]
    absent: str = field(default="")

    def __post_init__(self) -> None:
        for view in self.views:
            if len(view.choice) != len(self.controls):
                raise ValueError(f"plot {self.name}: {view.choice} must choose for each of {self.controls}")
        if not self.views and not self.absent:
            raise ValueError(f"plot {self.name} has no views and does not say why")


def to_json(plot: Plot) -> dict[str, Any]:
    """The plot as JSON can hold it: short numbers, null for what is not finite."""
    views = [
        {
            "choice": list(view.choice),
            "layout": _plain(view.layout),
            "traces": [
                {
                    "spec": _plain(trace.spec),
                    "cells": list(trace.cells),
                    "grid": _plain(trace.grid),
                    "label": trace.label,
                }
                for trace in view.traces
            ],
        }
        for view in plot.views
    ]
    return {"name": plot.name, "controls": list(plot.controls), "views": views}


def plain_text(text: str) -> str:
    """A name as Plotly shows it: its labels know some of HTML's tags."""
    return html.escape(text, quote=False)


def titled(text: str, **axis: Any) -> dict[str, Any]:  # noqa: ANN401 - Plotly's own values
    """An axis with a title."""
    return {"title": {"text": plain_text(text)}, **axis}


def counts(text: str, most: float) -> dict[str, Any]:
    """An axis of whole numbers from near zero to ``most``, with a title: its ticks are whole numbers too."""
    step = max(10 ** math.floor(math.log10(max(most, 1) / _MOST_TICKS)), 1)
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step * _MOST_TICKS >= most)
    return titled(text, dtick=step, tickformat=",d")


def _plain(value: Any) -> Any:  # noqa: ANN401 - containers of any depth
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
