"""Charts of what an annotation file holds."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deta.data.statistics import DatasetStatistics
from deta.drawing.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SIZE_COLOURS, chart_text, new_figure, style_axes
from deta.structures import LARGE_AREA, SMALL_AREA

_MAX_CATEGORIES = 40


def statistics_figure(statistics: DatasetStatistics, *, title: str = "") -> Figure:
    """Sizes, objects per image, overlap, aspect, image sizes and the most frequent categories."""
    names = statistics.categories.names
    figure = new_figure(13, 7 + 0.09 * max(0, min(len(names), _MAX_CATEGORIES) - 12), title)
    grid = figure.add_gridspec(2, 4, width_ratios=(1, 1, 1, 1.1))
    _sizes(figure.add_subplot(grid[0, 0]), statistics)
    _per_image(figure.add_subplot(grid[0, 1]), statistics)
    _overlaps(figure.add_subplot(grid[0, 2]), statistics)
    _aspects(figure.add_subplot(grid[1, 0]), statistics)
    _image_sizes(figure.add_subplot(grid[1, 1]), statistics)
    _size_shares(figure.add_subplot(grid[1, 2]), statistics)
    _categories(figure.add_subplot(grid[:, 3]), statistics)
    return figure


def _sizes(axes: Axes, statistics: DatasetStatistics) -> None:
    style_axes(axes, title="object size", x="side of a square of its area, px", y="objects")
    sides = np.sqrt(np.maximum(statistics.areas, 1.0))
    axes.hist(sides, bins=np.geomspace(1, max(2.0, float(sides.max(initial=2.0))), 40).tolist(), color=BLUE)
    axes.set_xscale("log")
    for area, name in ((SMALL_AREA, "32"), (LARGE_AREA, "96")):
        axes.axvline(area**0.5, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(name, (area**0.5, 0.97), xycoords=("data", "axes fraction"), fontsize=8, color=GREY, ha="right")


def _per_image(axes: Axes, statistics: DatasetStatistics) -> None:
    style_axes(axes, title="objects per image", x="objects", y="images")
    most = int(statistics.num_objects.max(initial=0))
    step = max(1, -(-(most + 1) // 40))
    axes.hist(statistics.num_objects, bins=(np.arange(0, most + 1 + step, step) - 0.5).tolist(), color=GREEN)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _overlaps(axes: Axes, statistics: DatasetStatistics) -> None:
    style_axes(axes, title="overlap with another object", x="IoU from which on", y="share of the objects")
    limits = np.linspace(0.01, 1, 100)
    for values, colour, name in (
        (statistics.overlaps, ORANGE, "any class"),
        (statistics.same_overlaps, PURPLE, "same class"),
    ):
        if len(values):
            axes.plot(limits, [(values >= limit).mean() for limit in limits], color=colour, linewidth=2, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)


def _aspects(axes: Axes, statistics: DatasetStatistics) -> None:
    style_axes(axes, title="aspect of boxes", x="width / height", y="objects")
    axes.hist(statistics.aspects, bins=np.geomspace(0.1, 10, 41).tolist(), color=BLUE)
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    axes.minorticks_off()


def _image_sizes(axes: Axes, statistics: DatasetStatistics) -> None:
    style_axes(axes, title="image sizes", x="width, px", y="height, px")
    sizes, counts = np.unique(statistics.image_sizes, axis=0, return_counts=True)
    area = 15 + 250 * counts / counts.max() if len(counts) else 15
    axes.scatter(sizes[:, 1], sizes[:, 0], s=area, color=GREEN, alpha=0.5, linewidths=0)
    axes.set_xlim(0, 1.1 * sizes[:, 1].max(initial=1))
    axes.set_ylim(0, 1.1 * sizes[:, 0].max(initial=1))


def _size_shares(axes: Axes, statistics: DatasetStatistics) -> None:
    style_axes(axes, title="objects by COCO's sizes", y="objects")
    counts = statistics.size_counts()
    bars = axes.bar(list(counts), list(counts.values()), color=[SIZE_COLOURS[name] for name in counts])
    total = max(1, sum(counts.values()))
    axes.bar_label(bars, [f"{count / total:.0%}" for count in counts.values()], fontsize=9, padding=2)
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="x")


def _categories(axes: Axes, statistics: DatasetStatistics) -> None:
    counts = np.bincount(statistics.labels, minlength=len(statistics.categories))
    order = np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES][::-1]
    is_cut = len(counts) > _MAX_CATEGORIES
    title = f"{_MAX_CATEGORIES} most frequent of {len(counts)}" if is_cut else "categories"
    style_axes(axes, title=title, x="objects")
    places = np.arange(len(order))  # not the names, of which some may be equal
    axes.barh(places, counts[order], color=BLUE)
    axes.set_yticks(places, [chart_text(statistics.categories.names[k]) for k in order])
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-0.7, len(order) - 0.3)
