"""A quantity of a run over its epochs or steps, taken from the rows of its metrics; nothing here needs PyTorch."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, object]
Series = tuple[NDArray[np.float64], NDArray[np.float64]]


def series(rows: Iterable[Row], key: str, *, x: str = "epoch") -> Series:
    """A quantity over steps or epochs.

    Args:
        rows: Rows of the metrics table; cells that are missing, empty or not finite are left out.
        key: Column.
        x: ``step``, or ``epoch``: the number of finished epochs, so the first stands at 1.

    Returns:
        Positions, ascending, and the mean of the values at each; both ``[P]``, P may be 0.
    """
    values: dict[float, list[float]] = {}
    for row in rows:
        position, value = _number(row.get(x)), _number(row.get(key))
        if math.isfinite(position) and math.isfinite(value):
            values.setdefault(position + (x == "epoch"), []).append(value)
    positions = sorted(values)
    means = [sum(values[position]) / len(values[position]) for position in positions]
    return np.array(positions, dtype=np.float64), np.array(means, dtype=np.float64)


def _number(value: object) -> float:
    if isinstance(value, str):
        return float(value) if value.strip() else math.nan
    return float(value) if isinstance(value, int | float) else math.nan
