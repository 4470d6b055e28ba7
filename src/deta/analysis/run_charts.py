"""Charts of a run: its learning curve, and what the assignment did.

Both take the rows of a run's metrics table and return a figure that belongs to nobody else: pyplot and its
global state are not used.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from deta.drawing.series import Row, Series, series
from deta.drawing.style import GREY, ORANGE, PURPLE, SIZE_COLOURS, draw, new_figure, style_axes
from deta.structures import SIZE_NAMES
from deta.utils.checks import require_choice
from deta.utils.wording import POINTS

_LOSS_COLOURS = {"train/loss": GREY, "val/loss": PURPLE}
_AP_COLOURS = {
    "AP": "black",
    "AP50": ORANGE,
    "AP75": PURPLE,
    "APs": SIZE_COLOURS["small"],
    "APm": SIZE_COLOURS["medium"],
    "APl": SIZE_COLOURS["large"],
}
_AXIS_LABELS = {"epoch": "epochs", "step": "training steps"}
_QUANTITIES = {
    "positives_per_object": "positives per object",
    "unmatched_share": "objects without a positive (share)",
    "mean_iou": "IoU of positives (mean)",
}
_STAGE_TITLES = {"proposals": "first stage (proposals)", "layers": "second stage (decoder)", "dense": "dense stage"}
_STAGE_KEY = re.compile(r"assign/(.+)/[^/]+")
_SMOOTH_FROM = 60
"""Points from which a curve is drawn smoothed, over its raw values."""


def write_run_figures(folder: Path) -> list[Path]:
    """Draw the learning curve and the assignment of a run into ``figures/`` of its directory.

    Args:
        folder: Run directory with ``metrics.csv``.

    Returns:
        The files written; a figure whose numbers the table does not hold, or that cannot be drawn, is left out.
    """
    table = folder / "metrics.csv"
    rows = read_rows(table) if table.is_file() else []
    drawn: dict[str, Callable[[], Figure]] = {}
    if any(len(series(rows, key)[0]) for key in (*_LOSS_COLOURS, "val/AP")):
        drawn["learning_curve"] = partial(learning_curve, rows)
    if any(_STAGE_KEY.fullmatch(key) for key in _all_keys(rows)):
        drawn["assignment"] = partial(assignment_statistics, rows)
    paths = {folder / "figures" / f"{name}.png": figure for name, figure in drawn.items()}
    return [path for path, figure in paths.items() if draw(figure, path)]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv``, every cell as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def learning_curve(rows: Sequence[Row], *, x: str = "epoch", title: str = "") -> Figure:
    """Loss (left) and COCO's average precision (right) over a run.

    Args:
        rows: Rows of the metrics table with ``epoch``, ``step``, ``train/loss``, ``val/loss``, ``val/AP``,
            ``val/AP50`` and so on; what is absent is not drawn.
        x: ``epoch`` or ``step``.
        title: Above the figure.

    Raises:
        ValueError: The rows hold neither a loss nor an average precision.
    """
    require_choice("x", x, _AXIS_LABELS)
    losses = _present(rows, {key: key for key in _LOSS_COLOURS}, x)
    precisions = _present(rows, {f"val/{name}": name for name in _AP_COLOURS}, x)
    if not losses and not precisions:
        raise ValueError(f"rows must hold train/loss, val/loss or val/AP beside {x}, got the keys {_keys(rows)}")
    figure = new_figure(10, 3.8, title)
    left, right = figure.subplots(1, 2)
    _decorate(left, "loss", "loss (weighted sum of all terms)", x)
    for key, curve in losses.items():
        _draw(left, curve, key.replace("/", " "), _LOSS_COLOURS[key])
    _decorate(right, "average precision", "COCO AP (points)", x)
    for name, curve in precisions.items():
        style = "--" if name in ("AP50", "AP75") else "-"
        _draw(
            right,
            (curve[0], POINTS * curve[1]),
            name,
            _AP_COLOURS[name],
            width=2.4 if name == "AP" else 1.4,
            style=style,
        )
    right.set_ylim(bottom=0)
    for axes, curves in ((left, losses), (right, precisions)):
        _legend(axes, is_empty=not curves)
    return figure


def assignment_statistics(rows: Sequence[Row], *, x: str = "epoch", title: str = "") -> Figure:
    """What the assignment did to small, medium and large objects; a row of charts for each stage.

    Args:
        rows: Rows of the metrics table with ``assign/<stage>/<quantity>_<size>``, where the quantities are
            ``positives_per_object``, ``unmatched_share`` and ``mean_iou``.
        x: ``epoch`` or ``step``.
        title: Above the figure.

    Raises:
        ValueError: The rows hold no such statistics.
    """
    require_choice("x", x, _AXIS_LABELS)
    found = {match[1] for key in _all_keys(rows) if (match := _STAGE_KEY.fullmatch(key))}
    stages = sorted(found, key=lambda stage: (stage != "proposals", stage))  # in the order of the network
    if not stages:
        raise ValueError(
            f"rows must hold assign/<stage>/positives_per_object_small and so on, got the keys {_keys(rows)}"
        )
    figure = new_figure(12, 3.3 * len(stages) + 0.3, title)
    for row, stage in enumerate(stages):
        for column, (quantity, label) in enumerate(_QUANTITIES.items()):
            axes = figure.add_subplot(len(stages), len(_QUANTITIES), row * len(_QUANTITIES) + column + 1)
            _decorate(axes, _STAGE_TITLES.get(stage, stage) if column == 0 else "", label, x)
            columns = {f"assign/{stage}/{quantity}_{size}": size for size in SIZE_NAMES}
            curves = _present(rows, columns, x)
            for size, curve in curves.items():
                _draw(axes, curve, size, SIZE_COLOURS[size])
            axes.set_ylim(bottom=0, top=None if quantity == "positives_per_object" else 1)
            _legend(axes, is_empty=not curves)
    return figure


def _present(rows: Sequence[Row], names: Mapping[str, str], x: str) -> dict[str, Series]:
    """The columns that hold values, under their names."""
    curves = {name: series(rows, key, x=x) for key, name in names.items()}
    return {name: curve for name, curve in curves.items() if len(curve[0])}


def _decorate(axes: Axes, title: str, label: str, x: str) -> None:
    style_axes(axes, title=title, x=_AXIS_LABELS[x], y=label)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw(axes: Axes, curve: Series, label: str, colour: str, *, width: float = 1.8, style: str = "-") -> None:
    positions, values = curve
    if len(values) >= _SMOOTH_FROM:
        axes.plot(positions, values, color=colour, linewidth=0.6, alpha=0.3)
        values = _smoothed(values, len(values) // 20)
    marker = "o" if len(values) <= 15 else None
    axes.plot(positions, values, style, color=colour, linewidth=width, label=label, marker=marker, markersize=3.5)


def _legend(axes: Axes, *, is_empty: bool) -> None:
    if is_empty:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=GREY)
    else:
        axes.legend(frameon=False, fontsize=9)


def _smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over ``width`` points around each, over fewer at the ends."""
    window = np.ones(2 * (width // 2) + 1)
    smooth: NDArray[np.float64] = np.convolve(values, window, "same") / np.convolve(
        np.ones_like(values), window, "same"
    )
    return smooth


def _all_keys(rows: Sequence[Row]) -> list[str]:
    return sorted({key for row in rows for key in row})


def _keys(rows: Sequence[Row]) -> str:
    return ", ".join(_all_keys(rows)[:12]) or "none"
