"""What the assignment gave to small, medium and large objects at the end of training."""

import math
import re
from collections.abc import Sequence

from deta.drawing.series import series
from deta.studies.report.plots import Plot, Trace, View, plain_text, titled
from deta.studies.report.stages import stage_title, stages
from deta.studies.report.trainings import Training

SIZES = ("small", "medium", "large")
"""COCO's sizes of objects; the endings of the metrics' names."""
_QUANTITIES = {
    "positives_per_object": "positives per object",
    "unmatched_share": "objects without a positive (share)",
    "mean_iou": "IoU of positives (mean)",
    "rescued_share": "positives by the closest-box rule alone (share)",
    "contested_share": "positives that passed the rule for two objects or more (share)",
}
_PATTERNS = {"solid": "", "dash": "/", "dot": ".", "dashdot": "x"}
"""What tells bars of one colour apart, as dashes do for lines."""


def positives_by_size(trainings: Sequence[Training]) -> Plot:
    """Bars for each size of objects, stage and quantity, from the last epoch of the runs that are done."""
    views = []
    for quantity, title in _quantities(trainings).items():
        for stage in stages(trainings, f"{quantity}_{SIZES[0]}"):
            traces = tuple(
                trace for training in trainings if (trace := _bars(training, f"assign/{stage}/{quantity}")) is not None
            )
            layout = {"barmode": "group", "xaxis": titled("size of objects", type="category"), "yaxis": titled(title)}
            if traces:
                views.append(View((title, stage_title(stage)), traces, layout))
    return Plot(
        name="sizes",
        title="Positives by object size",
        caption="Mean over the seeds that are done, in their last epoch of training; the whisker spans the lowest to "
        "the highest seed. Small is below 32 x 32 pixels, large above 96 x 96.",
        controls=("figure", "stage"),
        views=tuple(views),
        absent="No run that is done has logged assign/<stage>/positives_per_object_<size>.",
    )


def _quantities(trainings: Sequence[Training]) -> dict[str, str]:
    """Titles of what is counted for every rule, and then of what single rules have noted of their positives."""
    note = re.compile(rf"assign/[^/]+/(\w+)_share_(?:{'|'.join(SIZES)})")
    names = {name for training in trainings for run in training.runs for row in run.history for name in row}
    noted = sorted({match[1] for name in names if (match := note.fullmatch(name))})
    titles = {f"{name}_share": f"positives noted as {name} by the rule (share)" for name in noted}
    return _QUANTITIES | {name: title for name, title in titles.items() if name not in _QUANTITIES}


def _bars(training: Training, key: str) -> Trace | None:
    values = {size: _last_values(training, f"{key}_{size}") for size in SIZES}
    values = {size: found for size, found in values.items() if found}
    if not values:
        return None
    means = {size: math.fsum(found) / len(found) for size, found in values.items()}
    spec = {
        "type": "bar",
        "name": plain_text(training.label),
        "x": list(means),
        "y": list(means.values()),
        "marker": {"color": training.colour, "pattern": {"shape": _PATTERNS[training.dash]}},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [max(values[size]) - means[size] for size in values],
            "arrayminus": [means[size] - min(values[size]) for size in values],
            "color": "var(--ink-2)",
            "thickness": 1.2,
            "width": 2,
        },
        "customdata": [[min(found), max(found), len(found)] for found in values.values()],
        "hovertemplate": "%{x}: %{y:.4g}<br>%{customdata[0]:.4g} to %{customdata[1]:.4g}, seeds: %{customdata[2]}",
    }
    return Trace(spec, training.cells, label=training.label)


def _last_values(training: Training, key: str) -> list[float]:
    columns = [series(run.history, key)[1].tolist() for run in training.runs if run.is_done]
    return [column[-1] for column in columns if column]
