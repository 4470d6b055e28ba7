"""One image with its ground truth, on the way from the file to the batch."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from deta.structures import FederatedLabels


class SampleKey(NamedTuple):
    """Which sample to make: the same key gives the same sample on every worker, rank and machine.

    Attributes:
        epoch: Pass over the data, from 0; decides the augmentation.
        image: Position of the image in the data set.
        repeat: How often the image came before in this epoch; another repeat is augmented otherwise.
    """

    epoch: int
    image: int
    repeat: int = 0


@dataclass(frozen=True)
class Sample:
    """One image and what it holds (``K`` objects, ``I`` ignored areas).

    Attributes:
        image: ``[3, h, w]`` uint8 RGB.
        boxes: ``[K, 4]`` float32 ``xyxy`` in pixels of ``image``.
        labels: ``[K]`` int64 class index.
        areas: ``[K]`` float32 annotated area in pixels squared of the original image, not of ``image``.
        ignore_boxes: ``[I, 4]`` float32 ``xyxy`` in pixels of ``image``; their content is not annotated.
        image_id: Id in the annotation file.
        original_size: ``(height, width)`` in pixels of the image before any transform.
        federated: Classes that were looked for in this image, without the batch dimension; None where all were.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    areas: Tensor
    ignore_boxes: Tensor
    image_id: int
    original_size: tuple[int, int]
    federated: FederatedLabels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of ``image`` in pixels."""
        return self.image.shape[1], self.image.shape[2]


def unlabelled_sample(image: Tensor, *, image_id: int) -> Sample:
    """A sample of an image, ``[3, h, w]`` uint8, without any ground truth."""
    return Sample(
        image=image,
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        areas=torch.zeros(0),
        ignore_boxes=torch.zeros(0, 4),
        image_id=image_id,
        original_size=(image.shape[1], image.shape[2]),
    )
