"""COCO's average precision of any choice of the evaluated images, without matching anew."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.matching import ImageMatches
from deta.evaluation.precision import mean_precision, num_needed

_MAX_ELEMENTS = 4_000_000
"""Numbers of an intermediate array, which bounds the memory."""


def average_precision(matches: ImageMatches, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """AP over IoU 0.50 to 0.95 of collections in which every image stands a number of times.

    Exactly what COCO's program gives for the images written out so often, copies of an image beside each other.

    Args:
        matches: Of a model on all images.
        counts: ``[R, I]`` how often collection R holds image I, from 0.

    Returns:
        ``[R]`` in 0..1; NaN for a collection without an object.
    """
    num_objects = counts @ matches.num_objects  # [R, K]
    size = max(1, _MAX_ELEMENTS // max(1, len(matches.images)))
    parts = [_chunk(matches, counts[k : k + size], num_objects[k : k + size]) for k in range(0, len(counts), size)]
    return np.concatenate([np.empty(0), *parts])


def _chunk(matches: ImageMatches, counts: NDArray[np.int64], num_objects: NDArray[np.int64]) -> NDArray[np.float64]:
    total = np.zeros(len(counts))
    borders = np.searchsorted(matches.categories, np.arange(num_objects.shape[1] + 1))
    for category, (start, end) in enumerate(pairwise(borders.tolist())):
        copies = counts[:, matches.images[start:end]]  # [R, N_k] how often every detection stands there
        num_seen = np.cumsum(copies, axis=1)
        needed = num_needed(num_objects[:, category])
        num_thresholds = matches.is_match.shape[1]
        for threshold in range(num_thresholds):
            is_ignored = matches.is_ignored[start:end, threshold]
            is_match = matches.is_match[start:end, threshold] & ~is_ignored
            rows = np.flatnonzero(is_match)
            num_counted = num_seen[:, rows] - _num_before(copies, np.flatnonzero(is_ignored), rows)
            total += mean_precision(np.cumsum(copies[:, rows], axis=1), num_counted, needed) / num_thresholds
    num_categories = np.count_nonzero(num_objects, axis=1)
    return np.where(num_categories > 0, total / np.maximum(num_categories, 1), np.nan)


def _num_before(
    copies: NDArray[np.int64], chosen: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64] | int:
    """``[R, M]`` how many of the chosen detections stand before each of ``rows``."""
    if not len(chosen):
        return 0
    sums = np.cumsum(copies[:, chosen], axis=1)
    sums = np.concatenate((np.zeros((len(copies), 1), np.int64), sums), axis=1)
    before: NDArray[np.int64] = sums[:, np.searchsorted(chosen, rows)]
    return before
