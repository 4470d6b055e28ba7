"""How often classes occur, and how often images are to be seen for it."""

import numpy as np
from numpy.typing import NDArray

from deta.data.coco import CocoAnnotations
from deta.utils.checks import require_number

_STEPS = 2**20
"""Steps of a repeat factor between two integers, so that sums of millions of them are exact."""


def images_per_class(annotations: CocoAnnotations) -> NDArray[np.int64]:
    """``[C]`` number of images that hold an object of each class, crowds left out."""
    num_classes = len(annotations.categories)
    images, labels = _occurrences(annotations)
    return np.bincount(np.unique(images * num_classes + labels) % num_classes, minlength=num_classes)


def repeat_factors(annotations: CocoAnnotations, threshold: float) -> NDArray[np.float64]:
    """How many times each image is to be seen in an epoch, so that rare classes are seen more often.

    Source: arXiv:1908.03195 (LVIS), sec. 5.2: a class in a share ``f`` of the images has the factor
    ``max(1, sqrt(threshold / f))``, an image the largest of its classes.
    Differs: rounded to multiples of ``2 ** -20``.

    Args:
        annotations: Of the training images.
        threshold: Share of the images below which a class counts as rare, 0..1.

    Returns:
        ``[N]`` float64 of at least 1; exactly 1 without an object.
    """
    require_number("repeat_threshold", threshold, low=0, high=1)
    shares = images_per_class(annotations) / max(1, len(annotations))
    of_class = np.sqrt(np.maximum(1.0, threshold / np.where(shares > 0, shares, 1.0)))
    images, labels = _occurrences(annotations)
    factors = np.ones(len(annotations))
    np.maximum.at(factors, images, of_class[labels])
    return np.asarray(np.round(factors * _STEPS) / _STEPS)


def _occurrences(annotations: CocoAnnotations) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Image position and class index of every object."""
    is_object = ~annotations.is_crowd
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))
    return images[is_object], annotations.labels[is_object]
