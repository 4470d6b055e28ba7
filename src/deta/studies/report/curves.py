"""Curves over epochs: the mean over seeds, and a band from the lowest to the highest."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from deta.drawing.series import series
from deta.studies.report.plots import Plot, Trace, View, counts, plain_text, titled
from deta.studies.report.stages import stage_title, stages
from deta.studies.report.trainings import Training
from deta.studies.results import PRIMARY, Run
from deta.utils.wording import POINTS

_SCORE = re.compile(r"val/(A[PR]\w*)")
_LOSSES = {"val/loss": "validation loss", "train/loss": "training loss"}
_FEW_POINTS = 15
"""Up to so many epochs every point has a marker."""


@dataclass(frozen=True)
class Band:
    """A quantity over epochs and seeds.

    Attributes:
        epochs: Finished epochs, ascending.
        mean: Over the seeds that came so far.
        low: Lowest of them.
        high: Highest of them.
        num_seeds: Their number.
    """

    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    num_seeds: tuple[int, ...]


def band(runs: Sequence[Run], key: str, *, factor: float = 1.0) -> Band | None:
    """A column of the metrics over epochs, several values of one epoch averaged; None if no run has it."""
    values: dict[float, list[float]] = {}
    for run in runs:
        positions, column = series(run.history, key)
        for epoch, value in zip(positions.tolist(), column.tolist(), strict=True):
            values.setdefault(epoch, []).append(factor * value)
    if not values:
        return None
    epochs = tuple(sorted(values))
    groups = [values[epoch] for epoch in epochs]
    return Band(
        epochs=epochs,
        mean=tuple(math.fsum(group) / len(group) for group in groups),
        low=tuple(min(group) for group in groups),
        high=tuple(max(group) for group in groups),
        num_seeds=tuple(len(group) for group in groups),
    )


def learning_curves(trainings: Sequence[Training]) -> Plot:
    """Validation scores and losses over epochs."""
    keys = {key for training in trainings for run in training.runs for row in run.history for key in row}
    scores = sorted((match[1] for key in keys if (match := _SCORE.fullmatch(key))), key=_score_order)
    chosen = {f"val/{name}": (name, f"{name} (points)", float(POINTS)) for name in scores}
    chosen |= {key: (title, title, 1.0) for key, title in _LOSSES.items() if key in keys}
    views = []
    for key, (option, title, factor) in chosen.items():
        traces = curve_traces(trainings, key, factor=factor)
        if traces:
            views.append(View((option,), traces, _layout(title, traces)))
    return Plot(
        name="curves",
        title="Learning curves",
        caption="Line: mean over the seeds that reached the epoch. Band: lowest to highest seed. Scores are those of "
        "the validation during training, under the selection of detections of the training.",
        controls=("metric",),
        views=tuple(views),
        absent="No run has logged a score or a loss yet.",
    )


def instability(trainings: Sequence[Training]) -> Plot:
    """How much the assignment changes from epoch to epoch, for each stage."""
    views = []
    for stage in stages(trainings, "instability"):
        traces = curve_traces(trainings, f"assign/{stage}/instability")
        layout = _layout("instability", traces, rangemode="tozero")
        views.append(View((stage_title(stage),), traces, layout))
    return Plot(
        name="instability",
        title="Instability of the assignment",
        caption="Share of the assignment of the same objects that changed since the epoch before, 0 (nothing) to 1 "
        "(everything). Line: mean over seeds. Band: lowest to highest seed.",
        controls=("stage",),
        views=tuple(views),
        absent="No run has logged assign/<stage>/instability, which takes two epochs.",
    )


def curve_traces(trainings: Sequence[Training], key: str, *, factor: float = 1.0) -> tuple[Trace, ...]:
    """A band and a line for each training that has the column; bands first, so that no line is covered."""
    bands = [(training, found) for training in trainings if (found := band(training.runs, key, factor=factor))]
    areas = [_area(training, found) for training, found in bands if max(found.num_seeds) > 1]
    return (*areas, *(_line(training, found) for training, found in bands))


def _area(training: Training, found: Band) -> Trace:
    spec = {
        "type": "scatter",
        "mode": "lines",
        "x": [*found.epochs, *reversed(found.epochs)],
        "y": [*found.high, *reversed(found.low)],
        "fill": "toself",
        "fillcolor": training.colour,
        "line": {"width": 0},
        "opacity": 0.18,
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": training.label,
    }
    return Trace(spec, training.cells)


def _line(training: Training, found: Band) -> Trace:
    spec = {
        "type": "scatter",
        "mode": "lines+markers" if len(found.epochs) <= _FEW_POINTS else "lines",
        "x": found.epochs,
        "y": found.mean,
        "name": plain_text(training.label),
        "legendgroup": training.label,
        "line": {"color": training.colour, "dash": training.dash, "width": 2},
        "marker": {"color": training.colour, "size": 5},
        "customdata": list(zip(found.low, found.high, found.num_seeds, strict=True)),
        "hovertemplate": "epoch %{x}: %{y:.4g}<br>%{customdata[0]:.4g} to %{customdata[1]:.4g}, "
        "seeds: %{customdata[2]}",
    }
    return Trace(spec, training.cells, label=training.label)


def _layout(title: str, traces: Sequence[Trace], **axis: object) -> dict[str, object]:
    most = max((epoch for trace in traces for epoch in trace.spec["x"]), default=1.0)
    return {"xaxis": counts("epochs", most), "yaxis": titled(title, **axis)}


def _score_order(name: str) -> tuple[bool, bool, str]:
    """AP, its kin, then recalls."""
    return name != PRIMARY, not name.startswith(PRIMARY), name
