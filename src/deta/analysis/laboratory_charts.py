"""Charts of the assignment laboratory."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from deta.drawing.style import SIZE_COLOURS, chart_text, graded_colours, new_figure, style_axes
from deta.structures import SIZE_NAMES
from deta.utils.wording import counted

_QUANTITIES = {
    "positives_per_object": "positives per object",
    "unmatched_share": "objects without a positive",
    "mean_iou": "IoU of positives (mean)",
    "shared_share": "shared positives",
}
_OF_RULES = {
    "positives_per_object": "positives per object",
    "unmatched_share": "objects without a positive",
    "contested_share": "contested positives",
}
Row = Mapping[str, object]


def laboratory_figure(rows: Sequence[Row], grid: Mapping[str, Sequence[object]], *, title: str = "") -> Figure:
    """Quantities (down) of small, medium and large objects (across) over a grid of settings.

    Args:
        rows: One per setting and object size, with the keys of ``grid``, ``size`` and the quantities.
        grid: Values of every setting; the first is the horizontal axis, the others tell the lines apart. Empty for a
            single rule.
        title: Above the figure.
    """
    names = list(grid)
    x_name, line_names = (names[0], names[1:]) if names else ("", [])
    x_values = list(grid[x_name]) if names else [None]
    labels = list(dict.fromkeys(_label(row, line_names) for row in rows))
    figure = new_figure(12, 2.7 * len(_QUANTITIES) + 0.6, title)
    table = figure.subplots(len(_QUANTITIES), len(SIZE_NAMES), squeeze=False, sharey="row")
    for line, (quantity, text) in zip(table, _QUANTITIES.items(), strict=True):
        for axes, size in zip(line, SIZE_NAMES, strict=True):
            is_first, is_last = axes is line[0], quantity == list(_QUANTITIES)[-1]
            objects = next((int(str(row["objects"])) for row in rows if row["size"] == size), 0)
            heading = f"{size} ({counted(objects, 'object')})" if quantity == next(iter(_QUANTITIES)) else ""
            style_axes(axes, title=heading, x=x_name if is_last else "", y=text if is_first else "")
            for k, (colour, label) in enumerate(zip(graded_colours(len(labels)), labels, strict=True)):
                chosen = {
                    str(row.get(x_name)): _value(row[quantity])
                    for row in rows
                    if row["size"] == size and _label(row, line_names) == label
                }
                values = [chosen[str(value)] for value in x_values]
                width = 1.4 + 0.9 * (len(labels) - 1 - k)  # of equal lines all can be seen
                axes.plot(
                    range(len(values)), values, color=colour, linewidth=width, marker="o", markersize=4, label=label
                )
            axes.set_xticks(range(len(x_values)), [_text(value) for value in x_values] if names else [""])
            axes.margins(x=0.08, y=0.1)
        line[0].set_ylim(bottom=0)
    if line_names:
        table[0][-1].legend(frameon=False, fontsize=8, title=chart_text(", ".join(line_names)), title_fontsize=8)
    return figure


def rules_figure(rows: Sequence[Row], *, title: str = "") -> Figure:
    """Quantities (down) of every rule (across), a bar for each object size.

    Args:
        rows: One per rule and object size, with ``rule``, ``size`` and the quantities.
        title: Above the figure.
    """
    rules = list(dict.fromkeys(str(row["rule"]) for row in rows))
    figure = new_figure(max(7.0, 1.1 * len(rows) / (len(SIZE_NAMES) + 1) + 1), 2.7 * len(_OF_RULES) + 0.6, title)
    table = figure.subplots(len(_OF_RULES), 1, squeeze=False)[:, 0]
    width = 0.8 / len(SIZE_NAMES)
    for axes, (quantity, text) in zip(table, _OF_RULES.items(), strict=True):
        style_axes(axes, y=text)
        for k, size in enumerate(SIZE_NAMES):
            found = {str(row["rule"]): _value(row[quantity]) for row in rows if row["size"] == size}
            places = [place + (k - (len(SIZE_NAMES) - 1) / 2) * width for place in range(len(rules))]
            objects = next((int(str(row["objects"])) for row in rows if row["size"] == size), 0)
            label = f"{size} ({counted(objects, 'object')})"
            axes.bar(places, [found[rule] for rule in rules], width, color=SIZE_COLOURS[size], label=label)
        axes.set_xticks(range(len(rules)), [chart_text(rule) for rule in rules])
        axes.grid(visible=False, axis="x")
        axes.set_ylim(bottom=0)
    figure.legend(*table[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _label(row: Row, names: Sequence[str]) -> str:
    return ", ".join(_text(row[name]) for name in names)


def _text(value: object) -> str:
    return "no limit" if value is None else chart_text(str(value))


def _value(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
