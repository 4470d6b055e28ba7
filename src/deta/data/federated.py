"""What is known of the classes of an image where only some of them were looked for."""

import numpy as np
import torch
from numpy.typing import NDArray

from deta.data.coco import CocoAnnotations
from deta.data.frequency import images_per_class
from deta.data.sample import SampleKey
from deta.structures import FederatedLabels
from deta.utils.checks import require_int


class FederatedAnnotations:
    """The lists of LVIS for each image, and classes drawn among the rest.

    Drawn classes are a function of ``(seed, epoch, image, repeat)`` alone, as the augmentation is.
    Source: arXiv:2103.07461, sec. 5 (federated loss): classes that an image says nothing about count in the loss
    now and then, drawn with a probability proportional to the square root of the number of their images.
    Differs: drawn for each image, not for each batch.

    Args:
        annotations: In the layout of LVIS.
        num_sampled: Classes drawn for an image, fewer where there are no more; at least 0.
        seed: Of the drawing.
    """

    def __init__(self, *, annotations: CocoAnnotations, num_sampled: int, seed: int) -> None:
        if annotations.negative is None or annotations.not_exhaustive is None:
            raise ValueError("annotations must be in the layout of LVIS to have negative and not exhaustive classes")
        self._annotations = annotations
        self._negative, self._not_exhaustive = annotations.negative, annotations.not_exhaustive
        self._num_sampled = require_int("num_sampled_classes", num_sampled, low=0)
        self._seed = seed
        self._weights = np.sqrt(images_per_class(annotations))

    def __call__(self, key: SampleKey) -> FederatedLabels:
        """The labels of one image, each ``[n]`` without padding."""
        negative, not_exhaustive = self._negative.row(key.image), self._not_exhaustive.row(key.image)
        annotated = self._annotations.labels[self._annotations.rows(key.image)]
        sampled = self._draw(np.concatenate((negative, not_exhaustive, annotated)), key)
        return FederatedLabels(
            negative=torch.from_numpy(negative.copy()),
            not_exhaustive=torch.from_numpy(not_exhaustive.copy()),
            sampled=torch.from_numpy(sampled),
        )

    def _draw(self, known: NDArray[np.int64], key: SampleKey) -> NDArray[np.int64]:
        weights = self._weights.copy()
        weights[known] = 0
        number = min(self._num_sampled, int(np.count_nonzero(weights)))
        if not number:
            return np.empty(0, dtype=np.int64)
        generator = np.random.default_rng((self._seed, *key, len(self._weights)))
        return generator.choice(len(weights), size=number, replace=False, p=weights / weights.sum())
