"""COCO's average precision of any choice of the evaluated images, without matching anew."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.matching import ImageMatches

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO reads the precision."""
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
        needed = _needed(num_objects[:, category])
        num_thresholds = matches.is_match.shape[1]
        for threshold in range(num_thresholds):
            is_ignored = matches.is_ignored[start:end, threshold]
            is_match = matches.is_match[start:end, threshold] & ~is_ignored
            rows = np.flatnonzero(is_match)
            num_counted = num_seen[:, rows] - _num_before(copies, np.flatnonzero(is_ignored), rows)
            total += _mean_precision(np.cumsum(copies[:, rows], axis=1), num_counted, needed) / num_thresholds
    num_categories = np.count_nonzero(num_objects, axis=1)
    return np.where(num_categories > 0, total / np.maximum(num_categories, 1), np.nan)


def _needed(num_objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """``[R, 101]`` least number of found objects with which every recall is reached, as COCO's division rounds it."""
    divisor = np.maximum(num_objects, 1)[:, None]
    needed = np.ceil(RECALLS * divisor).astype(np.int64)
    needed -= ((needed - 1) / divisor >= RECALLS) & (needed > 0)
    needed += needed / divisor < RECALLS
    return needed


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


def _mean_precision(
    num_found: NDArray[np.int64], num_counted: NDArray[np.int64], needed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean over the recalls of the precision of one category and IoU threshold.

    Between two matches precision only falls, and along the copies of a match it only rises; so the last copies of the
    matches decide the envelope.

    Args:
        num_found: ``[R, M]`` objects found up to and with each of the M matches.
        num_counted: ``[R, M]`` detections up to there that count.
        needed: ``[R, 101]`` found objects that reach each recall.

    Returns:
        ``[R]``; 0 without a match.
    """
    num_collections, num_rows = num_found.shape
    if not num_rows:
        return np.zeros(num_collections)
    precision = num_found / (num_counted + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate((envelope, np.zeros((num_collections, 1))), axis=1)  # a recall never reached gives 0
    collection = np.arange(num_collections)[:, None]
    offset = collection * (num_found.max() + needed.max() + 1)  # one ascending array for all collections
    place = np.searchsorted((num_found + offset).ravel(), (needed + offset).ravel()).reshape(needed.shape)
    means: NDArray[np.float64] = np.take_along_axis(envelope, place - collection * num_rows, axis=1).mean(axis=1)
    return means
