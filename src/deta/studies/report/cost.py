"""What a training takes, against what it reaches."""

import math
from collections.abc import Callable, Sequence

from deta.studies.ablation import device_hours
from deta.studies.labels import label
from deta.studies.report.plots import Plot, Trace, View, counts, plain_text, titled
from deta.studies.report.trainings import Training, symbol
from deta.studies.results import PRIMARY, Comparison, Run
from deta.utils.wording import POINTS

_UNITS: dict[str, Callable[[Run], float]] = {
    "device hours of a run": device_hours,
    "wall-clock hours of a run": lambda run: run.cost.seconds / 3600 if run.cost else math.nan,
    "optimizer steps of a run": lambda run: run.cost.num_steps if run.cost else math.nan,
    "epochs of a run": lambda run: run.cost.num_epochs if run.cost else math.nan,
}


def cost_plot(comparison: Comparison, trainings: Sequence[Training]) -> Plot:
    """The primary metric of every cell against the mean cost of its runs that are done."""
    views = []
    for title, cost in _UNITS.items():
        traces = tuple(
            trace
            for training in trainings
            for index in training.cells
            if (trace := _point(comparison, training, index, cost)) is not None
        )
        if traces:
            most = max(trace.spec["x"][0] for trace in traces)
            axis = titled(title, rangemode="tozero") if "hours" in title else counts(title, most)
            layout = {"xaxis": axis, "yaxis": titled(f"{PRIMARY} (points)")}
            views.append(View((title,), traces, layout))
    devices = sorted({run.cost.device for training in trainings for run in training.runs if run.cost})
    return Plot(
        name="cost",
        title="Cost",
        caption="Mean over the seeds that are done; whiskers: standard deviation of the score, lowest to highest cost. "
        f"Devices: {', '.join(devices)}." + (" Hours of different devices do not compare." if devices[1:] else ""),
        controls=("cost",),
        views=tuple(views),
        absent="No run is done, so there is no cost to compare.",
    )


def _point(comparison: Comparison, training: Training, index: int, cost: Callable[[Run], float]) -> Trace | None:
    cell = comparison.cells[index]
    costs = [cost(run) for run in cell.runs if run.is_done and run.cost is not None]
    if not costs or PRIMARY not in cell.summary:
        return None
    mean, summary = math.fsum(costs) / len(costs), cell.summary[PRIMARY]
    whisker = {"type": "data", "color": training.colour, "thickness": 1.2, "width": 3}
    spec = {
        "type": "scatter",
        "mode": "markers",
        "x": [mean],
        "y": [POINTS * summary.mean],
        "name": plain_text(label(comparison, cell)),
        "marker": {
            "color": training.colour,
            "symbol": symbol(comparison, cell) + ("" if training.dash == "solid" else "-open"),
            "size": 10,
        },
        "error_x": {**whisker, "symmetric": False, "array": [max(costs) - mean], "arrayminus": [mean - min(costs)]},
        "error_y": {**whisker, "array": [POINTS * (summary.std or 0.0)]},
        "hovertemplate": "%{y:.2f} at %{x:.4g}",
    }
    return Trace(spec, (index,), label=label(comparison, cell))
