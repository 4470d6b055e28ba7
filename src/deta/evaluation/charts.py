"""Charts of an evaluation: by category, by size, along the recall, by kind of mistake, over selections."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deta.drawing.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SIZE_COLOURS,
    SKY,
    chart_text,
    graded_colours,
    new_figure,
    style_axes,
)
from deta.evaluation.breakdown import Part
from deta.evaluation.errors import ErrorAnalysis
from deta.evaluation.precision import RECALLS
from deta.utils.wording import POINTS, counted, points

_ERROR_COLOURS = (PURPLE, ORANGE, RED, SKY, BLUE, GREEN)
_MAX_CATEGORIES = 80
"""More are not readable; the best and the worst are drawn then."""


def category_figure(parts: Sequence[Part]) -> Figure:
    """AP (bar) and AP50 (dot) of every category with an object, the best on top."""
    ranked = sorted((part for part in parts if not math.isnan(part.ap)), key=lambda part: part.ap)
    title = "average precision by category"
    if len(ranked) > _MAX_CATEGORIES:
        title += f": {_MAX_CATEGORIES // 2} best and worst of {len(ranked)}"
        ranked = [*ranked[: _MAX_CATEGORIES // 2], *ranked[-_MAX_CATEGORIES // 2 :]]
    figure = new_figure(7.5, 1.3 + 0.2 * max(4, len(ranked)))
    axes = figure.subplots()
    style_axes(axes, title=title, x="0 to 1")
    places = np.arange(len(ranked))
    axes.barh(places, [part.ap for part in ranked], color=BLUE, label="AP", height=0.7)
    axes.scatter([part.ap50 for part in ranked], places, color=ORANGE, s=22, label="AP50", zorder=3)
    axes.set_yticks(places, [f"{chart_text(part.name)} ({part.num_objects})" for part in ranked], fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, max(0, len(ranked) - 1) + 0.7)
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def size_figure(parts: Sequence[Part]) -> Figure:
    """AP, AP50, AP75 and AR of all objects and of every size."""
    figure = new_figure(7.5, 3.4)
    axes = figure.subplots()
    style_axes(axes, title="by object size", y="0 to 1")
    columns = {
        "AP": ("black", [part.ap for part in parts]),
        "AP50": (ORANGE, [part.ap50 for part in parts]),
        "AP75": (PURPLE, [part.ap75 for part in parts]),
        "AR": (SKY, [part.ar for part in parts]),
    }
    for k, (name, (colour, values)) in enumerate(columns.items()):
        places = np.arange(len(parts)) + (k - 1.5) * 0.2
        bars = axes.bar(places, np.nan_to_num(values), width=0.18, color=colour, label=name)
        texts = ["-" if math.isnan(value) else f"{value:.2f}" for value in values]
        axes.bar_label(bars, texts, fontsize=7, padding=1)
    axes.set_xticks(range(len(parts)), [f"{part.name}\n{counted(part.num_objects, 'object')}" for part in parts])
    axes.set_ylim(0, 1.05)
    axes.grid(visible=False, axis="x")
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="upper right")
    return figure


def precision_recall_figure(
    by_iou: Mapping[float, NDArray[np.float64]], by_size: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """Precision over recall, mean over categories: by IoU threshold (left) and by object size at IoU 0.50 (right)."""
    figure = new_figure(10.5, 4)
    left, right = figure.subplots(1, 2)
    style_axes(left, title="precision by IoU threshold", x="recall", y="precision")
    for colour, (iou, curve) in zip(graded_colours(len(by_iou)), by_iou.items(), strict=True):
        left.plot(RECALLS, curve, color=colour, linewidth=1.6, label=f"{iou:.2f}")
    style_axes(right, title="precision by object size, IoU 0.50", x="recall", y="precision")
    for name, curve in by_size.items():
        colour = SIZE_COLOURS.get(name, "black")
        right.plot(RECALLS, curve, color=colour, linewidth=2.2 if name == "all" else 1.6, label=name)
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=2 if axes is left else 1)
    return figure


def error_figure(analysis: ErrorAnalysis) -> Figure:
    """What repairing one kind of mistake would gain (left), and how many there are (right)."""
    figure = new_figure(10.5, 3.6)
    left, right = figure.subplots(1, 2)
    names = [kind.name for kind in analysis.kinds]
    gains = [kind.gain for kind in analysis.kinds]
    style_axes(left, title=f"gain in AP50 (now {points(analysis.ap)} points) if one kind were repaired")
    bars = left.barh(names, POINTS * np.nan_to_num(gains), color=_ERROR_COLOURS)
    left.bar_label(bars, [points(gain, has_sign=True) for gain in gains], fontsize=9, padding=3)
    style_axes(right, title="how many: detections, for missed objects")
    counts = [kind.count for kind in analysis.kinds]
    bars = right.barh(names, counts, color=_ERROR_COLOURS)
    right.bar_label(bars, [str(count) for count in counts], fontsize=9, padding=3)
    for axes, values in ((left, np.nan_to_num(gains)), (right, np.array(counts))):
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        low, high = min(0.0, float(values.min())), float(values.max())
        axes.set_xlim(low * 1.25, max(high * 1.18, 1e-3))
    return figure


def sweep_figure(rows: Sequence[Mapping[str, object]]) -> Figure:
    """AP and AP50 over the suppression threshold, a line for every number of detections; "off" stands at the right.

    Args:
        rows: With ``nms_threshold`` (None for no suppression), ``top_k``, ``AP`` and ``AP50``.
    """
    thresholds = sorted({_threshold(row) for row in rows})
    limits = sorted({int(str(row["top_k"])) for row in rows})
    figure = new_figure(10.5, 3.8)
    for axes, name in zip(figure.subplots(1, 2), ("AP", "AP50"), strict=True):
        style_axes(axes, title=name, x="IoU above which the worse detection goes", y="0 to 1")
        for colour, limit in zip(graded_colours(len(limits)), limits, strict=True):
            found = {_threshold(row): row[name] for row in rows if int(str(row["top_k"])) == limit}
            values = [math.nan if found[key] is None else float(str(found[key])) for key in sorted(found)]
            places = [thresholds.index(key) for key in sorted(found)]
            axes.plot(places, values, color=colour, marker="o", markersize=4, label=counted(limit, "detection"))
        axes.set_xticks(range(len(thresholds)), ["off" if math.isinf(t) else f"{t:g}" for t in thresholds])
        axes.margins(y=0.15)
        axes.legend(frameon=False, fontsize=9, labelcolor=GREY)
    return figure


def _threshold(row: Mapping[str, object]) -> float:
    return math.inf if row["nms_threshold"] is None else float(str(row["nms_threshold"]))
