"""Parting images into training and validation so that every class has its share in each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def divide(
    units: NDArray[np.int64], counts: NDArray[np.int64], shares: Sequence[float], *, seed: int, stratify: bool = True
) -> NDArray[np.int64]:
    """Part units of images.

    Class by class, the one that fewest undecided units have first, each unit goes where the class is furthest below its
    share, units of more images before others and those of equally many in an order drawn by ``seed``.

    Source: Sechidis et al., "On the Stratification of Multi-label Data" (2011), algorithm 1. Differs: units of several
    images with counts of objects; a part is below its share by the ratio, not the difference, so that all fill evenly;
    and a unit that exceeds what a part still wants by more than half of itself goes elsewhere if it can.

    Args:
        units: ``[N]`` unit of each image, from 0.
        counts: ``[N, C]`` objects of each class.
        shares: Of the images and of every class, above 0, with a sum of 1.
        seed: Of the order.
        stratify: False looks at the number of images alone.

    Returns:
        ``[N]`` position in ``shares`` of each image.
    """
    num_classes = counts.shape[1]
    totals = np.zeros((int(units.max(initial=-1)) + 1, num_classes + 1), dtype=np.int64)
    np.add.at(totals, units, np.concatenate((counts, np.ones((len(units), 1), np.int64)), axis=1))
    sizes = totals[:, -1]
    order = np.random.default_rng(seed).permutation(len(totals))
    order = order[np.argsort(-sizes[order], kind="stable")]
    parts = _Parts(np.array(shares), totals.sum(axis=0))
    chosen = np.full(len(totals), -1)
    while stratify:
        waiting = (totals[chosen < 0, :-1] > 0).sum(axis=0)
        if not waiting.any():
            break
        rarest = int(np.argmin(np.where(waiting > 0, waiting, len(totals) + 1)))
        for unit in order[(chosen[order] < 0) & (totals[order, rarest] > 0)]:
            chosen[unit] = parts.take(totals[unit], rarest)
    for unit in order[chosen[order] < 0]:
        chosen[unit] = parts.take(totals[unit], num_classes)
    return np.asarray(chosen[units], dtype=np.int64)


class _Parts:
    """What every part still wants of every class and, last, of the images."""

    def __init__(self, shares: NDArray[np.float64], totals: NDArray[np.int64]) -> None:
        self._shares = shares
        self._wanted = shares[:, None] * totals  # [parts, C + 1]

    def take(self, unit: NDArray[np.int64], column: int) -> int:
        """Give a unit to the part that wants most of a class, or of the images."""
        columns = [column, -1]
        fits = (self._wanted[:, columns] >= unit[columns] / 2).all(axis=1)
        want = self._wanted[:, columns] / self._shares[:, None] if fits.any() else self._wanted[:, columns]
        ranked = np.lexsort((self._shares, want[:, 1], want[:, 0], fits))
        part = int(ranked[-1])
        self._wanted[part] -= unit
        return part
