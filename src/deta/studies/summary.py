"""A comparison as a table for the terminal."""

from deta.studies.results import PRIMARY, Cell, Comparison, Interval

_HEAD = (f"{PRIMARY}", "seeds", "difference", "over seeds", "over images", "verdict", "seconds")


def summary_table(comparison: Comparison) -> str:
    """A row for every cell, in AP points of 0..100, with the notes below."""
    axes = list(dict.fromkeys(name for cell in comparison.cells for name in cell.factors))
    rows = [[*axes, *_HEAD], *(_row(cell, axes) for cell in comparison.cells)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    base = " ".join(f"{name}={level}" for name, level in comparison.base.items())
    head = [comparison.title, f"Differences to {base}, paired by seed; intervals of 95 %", ""]
    notes = ["", *(f"- {note}" for note in comparison.notes)] if comparison.notes else []
    return "\n".join([*head, *lines, *notes])


def _row(cell: Cell, axes: list[str]) -> list[str]:
    summary, difference = cell.summary.get(PRIMARY), cell.difference
    score = "-"
    if summary is not None:
        score = f"{100 * summary.mean:.2f}" + ("" if summary.std is None else f" ± {100 * summary.std:.2f}")
    costs = [run.cost.seconds for run in cell.runs if run.cost is not None]
    return [
        *(cell.factors.get(axis, "-") for axis in axes),
        score,
        f"{0 if summary is None else summary.num_seeds}/{len(cell.runs)}",
        "-" if difference is None else f"{100 * difference.mean:+.2f}",
        "-" if difference is None else _interval(difference.over_seeds),
        "-" if difference is None else _interval(difference.over_images),
        "-" if difference is None else str(difference.verdict),
        f"{sum(costs) / len(costs):.0f}" if costs else "-",
    ]


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{100 * interval.low:+.2f} {100 * interval.high:+.2f}"
