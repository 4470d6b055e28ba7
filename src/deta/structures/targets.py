"""What a batch of images holds: objects to find and areas to leave alone."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from deta.structures.base import TensorStruct
from deta.structures.prediction import Prediction

SMALL_AREA = 32.0**2
"""Below this annotated area, in pixels squared, COCO calls an object small."""
LARGE_AREA = 96.0**2
"""From this annotated area on, in pixels squared, COCO calls an object large."""
SIZE_NAMES = ("small", "medium", "large")


@dataclass(frozen=True)
class FederatedLabels(TensorStruct):
    """What is known of the classes of each image, in a data set that looks for only some of them (LVIS).

    Attributes:
        negative: ``[B, N]`` int64 class indexes that were looked for and are absent; -1 in padding.
        not_exhaustive: ``[B, P]`` int64 class indexes of which an image may hold more than is annotated; -1 in padding.
        sampled: ``[B, S]`` int64 class indexes drawn at random among those not known of; -1 in padding.
    """

    negative: Tensor
    not_exhaustive: Tensor
    sampled: Tensor


@dataclass(frozen=True)
class Targets(TensorStruct):
    """Ground truth of a batch, padded to the largest number of objects.

    Attributes:
        boxes: ``[B, T, 4]`` float32 ``cxcywh``, relative to the unpadded image, in 0..1; zero in padding.
        labels: ``[B, T]`` int64 contiguous class index; zero in padding.
        is_object: ``[B, T]`` bool, False in padding.
        areas: ``[B, T]`` float32 annotated area in pixels squared of the original image, COCO's measure of
            object size; zero in padding.
        ignore_boxes: ``[B, I, 4]`` float32 ``cxcywh`` of areas whose content is not annotated (crowds), in
            the same unit; zero in padding.
        is_ignore: ``[B, I]`` bool, False in padding.
        sizes: ``[B, 2]`` float32 ``(height, width)`` in pixels of the unpadded images as the network sees them.
        most_objects: Largest number of objects in an image, known on the host; T is at least that.
        federated: Which classes were looked for in each image; None where all were, as in COCO.
    """

    boxes: Tensor
    labels: Tensor
    is_object: Tensor
    areas: Tensor
    ignore_boxes: Tensor
    is_ignore: Tensor
    sizes: Tensor
    most_objects: int
    federated: FederatedLabels | None = None

    def __post_init__(self) -> None:
        num_images, num_objects = self.is_object.shape
        num_areas = self.is_ignore.shape[1]
        for name, shape in (
            ("boxes", (num_images, num_objects, 4)),
            ("labels", (num_images, num_objects)),
            ("areas", (num_images, num_objects)),
            ("ignore_boxes", (num_images, num_areas, 4)),
            ("is_ignore", (num_images, num_areas)),
            ("sizes", (num_images, 2)),
        ):
            if tuple(getattr(self, name).shape) != shape:
                found = tuple(getattr(self, name).shape)
                raise ValueError(f"Targets.{name} must have shape {shape}, got {found}")

    def num_objects(self) -> Tensor:
        """``[B]`` float32 number of objects in every image."""
        return self.is_object.sum(1, dtype=torch.float32)

    def frame(self) -> Tensor:
        """``[B, 4]`` pixels of the unit box, ``(width, height, width, height)``."""
        return self.sizes.flip(1).repeat(1, 2)

    def in_pixels(self) -> Self:
        """The same with ``boxes`` and ``ignore_boxes`` in pixels of the image as the network sees it."""
        frame = self.frame()[:, None]  # [B, 1, 4]
        return replace(self, boxes=self.boxes * frame, ignore_boxes=self.ignore_boxes * frame)

    def in_unit_of(self, prediction: Prediction) -> Self:
        """The same objects in pixels where the boxes of ``prediction`` are."""
        return self.in_pixels() if prediction.frame is None else self

    def size_class(self) -> Tensor:
        """``[B, T]`` int64: 0 small, 1 medium, 2 large by COCO's area limits."""
        return (self.areas >= SMALL_AREA).long() + (self.areas >= LARGE_AREA)

    def class_agnostic(self) -> Self:
        """The same objects, all of class 0, as the first stage sees them."""
        return replace(self, labels=torch.zeros_like(self.labels), federated=None)

    def without_federated(self) -> Self:
        """The same, as if all classes had been looked for."""
        return self if self.federated is None else replace(self, federated=None)

    def repeat_batch(self, times: int) -> Self:
        """The batch ``times`` times over along the image dimension."""
        if times == 1:
            return self
        return self.map(lambda tensor: tensor.repeat(times, *[1] * (tensor.dim() - 1)))

    def repeat_objects(self, times: int) -> Self:
        """Every object ``times`` times; object ``t`` of this is also ``t + k * T`` of the result."""
        if times == 1:
            return self
        copies = {
            name: getattr(self, name).repeat(1, times, *[1] * (getattr(self, name).dim() - 2))
            for name in ("boxes", "labels", "is_object", "areas")
        }
        return replace(self, **copies, most_objects=self.most_objects * times)
