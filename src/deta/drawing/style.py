"""How every chart looks: colours that colour-blind readers can tell apart, and axes without clutter.

Figures belong to nobody else: pyplot and its global state are not used.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from deta.structures import SIZE_NAMES
from deta.utils.files import written_at_once
from deta.utils.names import shown

_log = logging.getLogger(__name__)

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#666666"
SIZE_COLOURS = dict(zip(SIZE_NAMES, (RED, BLUE, GREEN), strict=True))


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(chart_text(title), fontsize=13)
    return figure


def style_axes(axes: Axes, *, title: str = "", x: str = "", y: str = "") -> None:
    """Title to the left, labels, a light grid behind the data, no box around it."""
    axes.set_title(chart_text(title), loc="left", fontsize=11)
    axes.set_xlabel(chart_text(x))
    axes.set_ylabel(chart_text(y))
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def graded_colours(count: int) -> list[str]:
    """Colours from dark to light for ``count`` ordered levels, also in grey print."""
    return [to_hex(colormaps["viridis"](0.92 * k / max(1, count - 1))) for k in range(count)]


def chart_text(text: str) -> str:
    """A name as it is, where Matplotlib would read mathematics between dollar signs."""
    return shown(text).replace("$", r"\$")


def draw(make: Callable[[], Figure], path: Path) -> bool:
    """Make and write a figure that stands beside a result: one that cannot be drawn is a warning, and returns False."""
    try:
        save_figure(make(), path)
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:  # Matplotlib's own
        _log.warning("%s is not drawn: %s: %s", path, type(error).__name__, shown(error))
        return False
    return True


def save_figure(figure: Figure, path: Path, *, dpi: int = 150) -> None:
    """Write a figure in the format of the file's ending; PNG, SVG and PDF for instance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_at_once(path) as file:
        figure.savefig(file, dpi=dpi, format=path.suffix.removeprefix("."))
