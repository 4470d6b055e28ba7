"""Charts of the classes of an evaluation: precision and recall, F1 over the score, which is taken for which."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deta.drawing.style import GREY, chart_text, draw, graded_colours, new_figure, style_axes
from deta.evaluation.class_curves import ClassCurves, class_curves
from deta.evaluation.detections import CocoDetections
from deta.evaluation.ground_truth import GroundTruth
from deta.evaluation.precision import RECALLS
from deta.utils.tables import write_csv

FIGURES = ("class_curves", "confusion")
"""Their names."""
_MOST_NAMED = 10
"""Classes whose curves have a colour and a name; more cannot be told apart."""
_MOST_CELLS = 40
"""Classes of a confusion matrix that can be read; of more the most confused are drawn."""
_MOST_NUMBERS = 20
"""Classes up to which every cell shows its number."""


def class_figures(folder: Path) -> list[Path]:
    """Those that ``write_class_curves`` has left in a folder."""
    paths = [folder / "figures" / f"{name}.png" for name in FIGURES]
    return [path for path in paths if path.is_file()]


def write_class_curves(
    folder: Path, ground_truth: GroundTruth, detections: CocoDetections, *, max_detections: int = 100
) -> ClassCurves:
    """Write ``class_scores.csv``, ``confusion.csv``, ``figures/class_curves.png`` and ``figures/confusion.png``."""
    curves = class_curves(ground_truth, detections, max_detections=max_detections)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "class_scores.csv", curves.rows())
    write_csv(folder / "confusion.csv", curves.confusion_rows())
    for name, figure in zip(FIGURES, (curves_figure, confusion_figure), strict=True):
        draw(partial(figure, curves), folder / "figures" / f"{name}.png")
    return curves


def curves_figure(curves: ClassCurves) -> Figure:
    """Precision over recall (left) and F1 over the score (right) of every class, at IoU 0.50, and their means."""
    figure = new_figure(10.5, 4.2)
    left, right = figure.subplots(1, 2)
    style_axes(left, title="precision by class, IoU 0.50", x="recall", y="precision")
    style_axes(right, title="F1 by class, IoU 0.50", x="least score", y="F1")
    shown = np.flatnonzero(curves.num_objects)
    areas = curves.precision_at_recall.mean(axis=1)
    _draw_classes(left, RECALLS, curves.precision_at_recall, curves.names, shown, [f"{area:.2f}" for area in areas])
    f1 = curves.f1
    texts = [f"{value:.2f}" for value in np.nan_to_num(f1).max(axis=1)]
    _draw_classes(right, curves.thresholds, f1, curves.names, shown, texts)
    if len(shown):
        right.axvline(curves.best_threshold, color=GREY, linewidth=0.8, linestyle=":")
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        if len(shown):
            axes.legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def _draw_classes(
    axes: Axes,
    places: NDArray[np.float64],
    values: NDArray[np.float64],
    names: Sequence[str],
    shown: NDArray[np.int64],
    texts: Sequence[str],
) -> None:
    is_named = len(shown) <= _MOST_NAMED
    for colour, k in zip(graded_colours(len(shown)), shown, strict=True):
        label = f"{chart_text(names[k])} {texts[k]}" if is_named else None
        axes.plot(
            places, values[k], color=colour if is_named else GREY, linewidth=1.4 if is_named else 0.5, label=label
        )
    if len(shown):
        mean = values[shown].mean(axis=0)
        axes.plot(places, mean, color="black", linewidth=2.4, label=f"mean of {len(shown)}")


def confusion_figure(curves: ClassCurves) -> Figure:
    """Shares of the objects of every class (rows) by the class of what found them (columns), with their numbers."""
    names = [*curves.names, "nothing"]
    chosen = _chosen(curves.confusion)
    confusion = curves.confusion[np.ix_(chosen, chosen)]
    share = confusion / np.maximum(curves.confusion.sum(axis=1)[chosen, None], 1)
    side = 2.2 + 0.42 * max(4, min(len(chosen), _MOST_CELLS))
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    title = f"score from {curves.best_threshold:.2f}, IoU from 0.50"
    if len(chosen) < len(names):
        title += f"; the {len(chosen) - 1} most confused of {len(names) - 1} classes"
    style_axes(axes, title=title, x="detected as", y="object")
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    labels = [chart_text(names[k]) for k in chosen]
    axes.set_xticks(range(len(chosen)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(chosen)), labels, fontsize=7)
    if len(chosen) <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if share[row, column] > 0.6 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", fontsize=7, color=colour)
    return figure


def _chosen(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that are drawn, in their order; the last one always is."""
    num_classes = len(confusion) - 1
    if num_classes <= _MOST_CELLS:
        return np.arange(num_classes + 1)
    mistakes = confusion[:-1, :-1].copy()
    np.fill_diagonal(mistakes, 0)
    worst = np.argsort(-(mistakes.sum(axis=0) + mistakes.sum(axis=1)), kind="stable")[:_MOST_CELLS]
    return np.append(np.sort(worst), num_classes)
