"""Scores over two axes at a time, the thresholds of the paper first."""

from collections.abc import Sequence
from itertools import combinations

from deta.studies.ablation import DIFFERENCE_TITLE, METRICS, num_decimals, number, state_in_words
from deta.studies.labels import is_base, level_of, shown_axes
from deta.studies.report.plots import Plot, Trace, View, plain_text, titled
from deta.studies.results import PRIMARY, Axis, Comparison
from deta.utils.wording import POINTS

_MOST_COLUMNS = 6
"""Beside each other there is room for so many tiles with words."""
_LEAST_HEIGHT, _ROW_HEIGHT = 360, 32
"""Pixels of the chart, and of a row of it where there are many."""
_THRESHOLD, _LIMIT = "tau", ("n", "max_per_target")
"""Names of the axes that the paper asks about together."""


def heat_map(comparison: Comparison) -> Plot:
    """For any two axes with two levels or more: a metric over both, all other axes at one level each."""
    axes = [axis for axis in shown_axes(comparison) if len(axis.levels) > 1]
    pairs = [_upright(pair) for pair in sorted(combinations(axes, 2), key=_is_not_of_the_paper)]
    metrics = [name for name in METRICS if any(name in cell.summary for cell in comparison.cells)]
    if any(cell.difference is not None for cell in comparison.cells):
        metrics.insert(1, DIFFERENCE_TITLE)
    views = []
    for x_axis, y_axis in pairs:
        others = [axis.name for axis in axes if axis not in (x_axis, y_axis)]
        for fixed, cells in _slices(comparison, others).items():
            for metric in metrics:
                traces = _traces(comparison, cells, (x_axis, y_axis), metric)
                if traces:
                    layout = {
                        "xaxis": _categories(x_axis),
                        "yaxis": _categories(y_axis) | {"autorange": "reversed"},  # as in a table
                        "height": max(_LEAST_HEIGHT, _ROW_HEIGHT * len(y_axis.levels)),
                    }
                    choice = (f"{x_axis.name} x {y_axis.name}", fixed, metric)
                    views.append(View(choice, traces, layout))
    return Plot(
        name="heat_map",
        title="Two axes at a time",
        caption="Mean over seeds in points, with its standard deviation where there are several. Cells without a run "
        "that is done name their state, or have a dot among many; what is blank is not part of the comparison.",
        controls=("axes", "others", "metric"),
        views=tuple(views),
        absent="A heat map takes two axes with two levels each and a run that is done.",
    )


def _upright(pair: tuple[Axis, Axis]) -> tuple[Axis, Axis]:
    """Many levels stand below each other, where there is room for their names."""
    first, second = pair
    return (second, first) if len(first.levels) > max(_MOST_COLUMNS, len(second.levels)) else pair


def _is_not_of_the_paper(pair: tuple[Axis, Axis]) -> bool:
    names = [axis.name.rpartition(".")[2] for axis in pair]
    return not any(names == [_THRESHOLD, limit] or names == [limit, _THRESHOLD] for limit in _LIMIT)


def _slices(comparison: Comparison, others: Sequence[str]) -> dict[str, list[int]]:
    """Cells of each combination of levels of the other axes, by its name."""
    slices: dict[str, list[int]] = {}
    for index, cell in enumerate(comparison.cells):
        name = ", ".join(f"{axis}={level_of(cell, axis)}" for axis in others) or "none"
        slices.setdefault(name, []).append(index)
    return slices


def _traces(
    comparison: Comparison, cells: Sequence[int], axes: tuple[Axis, Axis], metric: str
) -> tuple[Trace, ...] | None:
    """The map and the states of cells without a score; None unless both axes vary and there is a score."""
    places = {
        (level_of(comparison.cells[index], axes[0].name), level_of(comparison.cells[index], axes[1].name)): index
        for index in cells
    }
    columns = [level for level in axes[0].levels if any(place[0] == level for place in places)]
    rows = [level for level in axes[1].levels if any(place[1] == level for place in places)]
    grid = tuple(tuple(places.get((column, row)) for column in columns) for row in rows)
    shown = [index for line in grid for index in line if index is not None]
    scores = {index: _score(comparison, index, metric) for index in shown}
    if len(columns) < 2 or len(rows) < 2 or not any(score is not None for score in scores.values()):
        return None
    z = [[None if index is None else scores[index] for index in line] for line in grid]
    texts = [["" if index is None else _text(comparison, index, metric) for index in line] for line in grid]
    is_difference = metric == DIFFERENCE_TITLE
    spec = {
        "type": "heatmap",
        "x": [plain_text(level) for level in columns],
        "y": [plain_text(level) for level in rows],
        "z": z,
        "text": texts,
        "texttemplate": "%{text}",
        "hovertemplate": "%{x}, %{y}<br>%{text}<extra></extra>",
        "colorscale": "RdBu" if is_difference else "Cividis",
        "reversescale": is_difference,
        **({"zmid": 0} if is_difference else {}),
        "colorbar": {"title": {"text": f"{metric} (points)", "side": "right"}, "thickness": 12, "outlinewidth": 0},
        "xgap": 2,
        "ygap": 2,
    }
    states = [_state(comparison, index, axes) for index in shown if PRIMARY not in comparison.cells[index].summary]
    return (Trace(spec, tuple(shown), grid), *states)


def _state(comparison: Comparison, index: int, axes: tuple[Axis, Axis]) -> Trace:
    cell = comparison.cells[index]
    spec = {
        "type": "scatter",
        "mode": "text",
        "x": [plain_text(level_of(cell, axes[0].name) or "")],
        "y": [plain_text(level_of(cell, axes[1].name) or "")],
        "text": [state_in_words(cell)],
        "textfont": {"color": "var(--ink-2)", "size": 11},
        "hovertext": [state_in_words(cell)],
        "hoverinfo": "text",
        "showlegend": False,
    }
    return Trace(spec, (index,))


def _score(comparison: Comparison, index: int, metric: str) -> float | None:
    """In points; the base differs from itself by 0."""
    cell = comparison.cells[index]
    if metric != DIFFERENCE_TITLE:
        return POINTS * cell.summary[metric].mean if metric in cell.summary else None
    if cell.difference is not None:
        return POINTS * cell.difference.mean
    return 0.0 if is_base(comparison, cell) and PRIMARY in cell.summary else None


def _text(comparison: Comparison, index: int, metric: str) -> str:
    cell, score = comparison.cells[index], _score(comparison, index, metric)
    decimals = num_decimals(comparison)
    if score is None:
        return ""
    if metric == DIFFERENCE_TITLE:
        return f"{number(score, decimals, has_sign=True)}<br>{cell.difference.verdict}" if cell.difference else "base"
    std = cell.summary[metric].std
    return number(score, decimals) + ("" if std is None else f"<br>± {number(POINTS * std, decimals)}")


def _categories(axis: Axis) -> dict[str, object]:
    order = [plain_text(level) for level in axis.levels]
    return titled(axis.name, type="category", categoryorder="array", categoryarray=order, showgrid=False)
