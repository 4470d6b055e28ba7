"""Objects of one image and, side by side, the candidates that several rules give them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from deta.drawing.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, chart_text, new_figure
from deta.utils.wording import counted

_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
_COLUMNS = 4
_PANEL_WIDTH = 4.2
"""Inches."""
_PALE = 0.35
"""How much of the image is seen on white, 0..1."""


@dataclass(frozen=True)
class Panel:
    """What one rule does to the image.

    Attributes:
        name: Of the rule.
        boxes_xyxy: ``[M, 4]`` candidates of all pairs, in pixels of the image.
        owner: ``[M]`` their object.
        strides: ``[M]`` pixels between neighbours where candidates are drawn as points, larger for larger ones; None
            draws boxes.
    """

    name: str
    boxes_xyxy: Tensor
    owner: Tensor
    strides: Tensor | None = None


def candidates_figure(image: Tensor, objects_xyxy: Tensor, panels: Sequence[Panel], *, title: str = "") -> Figure:
    """A picture for every rule: objects in bold lines, dashed without a candidate, and candidates in their colour.

    Args:
        image: ``[3, H, W]`` uint8 RGB, drawn grey and pale.
        objects_xyxy: ``[T, 4]`` in pixels of the image.
        panels: One for every rule, at least one.
        title: Above the figure.
    """
    num_columns = min(_COLUMNS, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    ratio = image.shape[1] / image.shape[2]
    height = num_rows * (_PANEL_WIDTH * ratio + 0.35) + 0.5
    figure = new_figure(num_columns * _PANEL_WIDTH, height, title)
    table = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes in table:
        axes.set_axis_off()
    for axes, panel in zip(table, panels, strict=False):
        _draw_panel(axes, image, objects_xyxy, panel)
    return figure


def _draw_panel(axes: Axes, image: Tensor, objects_xyxy: Tensor, panel: Panel) -> None:
    height, width = image.shape[1:]
    numbers = panel.owner.bincount(minlength=len(objects_xyxy)).tolist()
    without = f", {counted(numbers.count(0), 'object')} without" if 0 in numbers else ""
    text = f"{panel.name}: {counted(len(panel.owner), 'positive')}{without}"
    axes.set_title(chart_text(text), loc="left", fontsize=10)
    grey = image.float().mean(0).cpu().numpy()  # [H, W]
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, alpha=_PALE, extent=(0, width, height, 0))
    colours = [_COLOURS[int(owner) % len(_COLOURS)] for owner in panel.owner]
    if panel.strides is None:
        for box, colour in zip(panel.boxes_xyxy.tolist(), colours, strict=True):
            axes.add_patch(_rectangle(box, edgecolor=colour, linewidth=0.6, alpha=0.7))
    else:
        order = panel.strides.argsort(descending=True, stable=True)  # no point hides a smaller one
        x, y = ((panel.boxes_xyxy[order, :2] + panel.boxes_xyxy[order, 2:]) / 2).T.tolist()
        sizes, colours = (12 + panel.strides[order]).tolist(), [colours[place] for place in order.tolist()]
        axes.scatter(x, y, s=sizes, c=colours, edgecolors="white", linewidths=0.5, zorder=3)
    for index, (box, number) in enumerate(zip(objects_xyxy.tolist(), numbers, strict=True)):
        colour = _COLOURS[index % len(_COLOURS)]
        axes.add_patch(
            _rectangle(box, edgecolor=colour, linewidth=2.0, linestyle="-" if number else "--", clip_on=False)
        )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _rectangle(box_xyxy: Sequence[float], **style: Any) -> Rectangle:  # noqa: ANN401 - Matplotlib's own
    left, top, right, bottom = box_xyxy
    return Rectangle((left, top), right - left, bottom - top, fill=False, **style)
