"""COCO's average precision of ranked detections, and the recalls at which it reads the precision."""

import numpy as np
from numpy.typing import NDArray

RECALLS: NDArray[np.float64] = np.linspace(0, 1, 101)
"""Recalls at which COCO reads the precision."""


def num_needed(num_objects: NDArray[np.int64]) -> NDArray[np.int64]:
    """``[R, 101]`` least number of found objects with which every recall is reached, as COCO's division rounds it."""
    divisor = np.maximum(num_objects, 1)[:, None]
    needed = np.ceil(RECALLS * divisor).astype(np.int64)
    # The product rounds otherwise than COCO's quotient, by one object at most: a step to either side mends it.
    needed -= ((needed - 1) / divisor >= RECALLS) & (needed > 0)
    needed += needed / divisor < RECALLS
    return needed


def mean_precision(
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
    # The guard of COCO's program, which moves the last digit of every quotient.
    precision = num_found / (num_counted + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.concatenate((envelope, np.zeros((num_collections, 1))), axis=1)  # a recall never reached gives 0
    collection = np.arange(num_collections)[:, None]
    offset = collection * (num_found.max() + needed.max() + 1)  # one ascending array for all collections
    place = np.searchsorted((num_found + offset).ravel(), (needed + offset).ravel()).reshape(needed.shape)
    means: NDArray[np.float64] = np.take_along_axis(envelope, place - collection * num_rows, axis=1).mean(axis=1)
    return means
