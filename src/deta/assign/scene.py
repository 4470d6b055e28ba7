"""Objects and candidates in pixels, a bounded number of objects at a time."""

from dataclasses import replace
from typing import NamedTuple, Protocol

from torch import Tensor

from deta.ops.boxes import to_corners
from deta.structures import Prediction, Targets

LARGEST_TABLE = 2**26
"""Pairs of a candidate and an object that are looked at at once: 256 MiB of float32 for each number of a pair."""


class Part(NamedTuple):
    """Some of the objects of every image, one after the other.

    Attributes:
        start: Index of the first.
        boxes: ``[B, t, 4]`` ``cxcywh``.
        labels: ``[B, t]``.
        is_object: ``[B, t]``, False in padding.
    """

    start: int
    boxes: Tensor
    labels: Tensor
    is_object: Tensor

    @property
    def corners(self) -> Tensor:
        """``[B, t, 4]`` the boxes as ``xyxy``."""
        return to_corners(self.boxes)

    def is_pair(self, can_match: Tensor) -> Tensor:
        """``[B, t, N]``, True for objects and candidates that can match, of ``[B, N]``."""
        return self.is_object[:, :, None] & can_match[:, None]


def in_pixels(prediction: Prediction, targets: Targets) -> tuple[Prediction, Targets]:
    """Both as an assigner gets them, in one unit, with boxes and priors in float32 pixels.

    Thresholds, distances and exact ties decide: in half precision or relative to the image they would decide otherwise.
    """
    seen = targets if prediction.frame is None else targets.in_pixels()
    prediction = prediction.in_pixels()
    prediction = replace(prediction, boxes=prediction.boxes.float(), priors=prediction.priors.float())
    return prediction, replace(seen, boxes=seen.boxes.float())


def is_empty(prediction: Prediction, targets: Targets) -> bool:
    """Whether there is no candidate, or no place for an object."""
    return 0 in (targets.is_object.shape[1], prediction.num_candidates)


def parts(prediction: Prediction, targets: Targets) -> list[Part]:
    """All objects, so many at a time that a table of their pairs with candidates stays bounded."""
    num_images, num_objects = targets.is_object.shape
    size = max(1, LARGEST_TABLE // max(1, num_images * prediction.num_candidates))
    columns = zip(*(part.split(size, 1) for part in (targets.boxes, targets.labels, targets.is_object)), strict=True)
    return [Part(start, *part) for start, part in zip(range(0, max(1, num_objects), size), columns, strict=True)]


def offsets(priors: Tensor, boxes: Tensor) -> Tensor:
    """``[B, t, N, 2]`` from centres of ``boxes``, ``[B, t, 4]``, to those of ``priors``, ``[B, N, 4]``."""
    return priors[:, None, :, :2] - boxes[:, :, None, :2]


def to_sides(priors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of centres of ``priors`` to the nearest and the farthest side of ``boxes``.

    Args:
        priors: ``[B, N, 4]`` ``cxcywh``.
        boxes: ``[B, t, 4]`` ``xyxy``.

    Returns:
        Twice ``[B, t, N]``; the nearest is negative outside.
    """
    centre = priors[:, None, :, :2]  # [B, 1, N, 2]
    low, high = centre - boxes[:, :, None, :2], boxes[:, :, None, 2:] - centre  # [B, t, N, 2]
    return low.minimum(high).amin(-1), low.maximum(high).amax(-1)


def own_boxes(prediction: Prediction, labels: Tensor) -> Tensor:
    """Predicted boxes, ``[B, t or 1, N, 4]`` ``xyxy``: those for the class ``[B, t]`` of an object, or one for all."""
    boxes = to_corners(prediction.boxes)
    if boxes.dim() == 3:
        return boxes[:, None]
    index = labels[:, None, :, None].expand(*boxes.shape[:2], -1, 4)  # [B, N, t, 4]
    return boxes.gather(2, index).transpose(1, 2)  # [B, t, N, 4]


class NeedsParts(Protocol):
    """A rule that can say nothing without some parts of ``Prediction``."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Their names."""
        ...


def require_parts(rule: NeedsParts, prediction: Prediction) -> None:
    """Require those parts.

    Raises:
        ValueError: The candidates do not have one.
    """
    absent = [f"Prediction.{name}" for name in rule.needs if getattr(prediction, name) is None]
    if absent:
        raise ValueError(
            f"{type(rule).__name__} needs {' and '.join(absent)}: positions of a first stage have them, and levels and "
            "strides also the queries that are made of them, learned queries have none; choose another rule for these"
        )


def per_candidate(values: Tensor, prediction: Prediction) -> Tensor:
    """``[B, N]`` of levels or strides."""
    return values.expand(prediction.logits.shape[:2])
