"""The score of every seed: how much of a difference is noise."""

from collections.abc import Sequence

from deta.studies.labels import label
from deta.studies.report.plots import Plot, Trace, View, plain_text, titled
from deta.studies.report.trainings import Training, symbol
from deta.studies.results import PRIMARY, Comparison
from deta.utils.wording import POINTS

_MEAN_SIZE = 20
"""Pixels of the stroke at the mean."""
_LEAST_HEIGHT, _LINE_HEIGHT = 360, 32
"""Pixels of the chart, and of a line of it where there are many."""


def scores_of_seeds(comparison: Comparison, trainings: Sequence[Training]) -> Plot:
    """A point for every run that is done and a stroke at their mean, a line of the chart for each cell."""
    looks = {index: training for training in trainings for index in training.cells}
    cells = [index for index, cell in enumerate(comparison.cells) if PRIMARY in cell.summary]
    traces = [trace for index in cells for trace in _traces(comparison, index, looks[index])]
    layout = {
        "xaxis": titled(f"{PRIMARY} (points)"),
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "height": max(_LEAST_HEIGHT, _LINE_HEIGHT * len(cells)),
    }
    return Plot(
        name="seeds",
        title="Score of every seed",
        caption="One point for each run that is done, in the order of the table; the stroke is their mean.",
        controls=(),
        views=(View((), tuple(traces), layout),) if traces else (),
        absent="No run is done.",
    )


def _traces(comparison: Comparison, index: int, training: Training) -> tuple[Trace, Trace]:
    cell = comparison.cells[index]
    name = plain_text(label(comparison, cell))
    runs = [run for run in cell.runs if PRIMARY in run.scores.get(cell.postprocess, {})]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [POINTS * run.scores[cell.postprocess][PRIMARY] for run in runs],
        "y": [name for _ in runs],
        "text": [f"seed {run.seed}" for run in runs],
        "name": name,
        "marker": {"color": training.colour, "symbol": symbol(comparison, cell), "size": 9, "opacity": 0.7},
        "hovertemplate": "%{text}: %{x:.2f}",
    }
    mean = {
        "type": "scatter",
        "mode": "markers",
        "x": [POINTS * cell.summary[PRIMARY].mean],
        "y": [name],
        "name": name,
        "marker": {
            "color": training.colour,
            "symbol": "line-ns",
            "size": _MEAN_SIZE,
            "line": {"color": training.colour, "width": 2},
        },
        "hovertemplate": "mean: %{x:.2f}",
    }
    return Trace(points, (index,)), Trace(mean, (index,))
