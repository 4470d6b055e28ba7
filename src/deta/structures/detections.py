"""Final boxes of a batch, as users and metrics see them."""

from dataclasses import dataclass

from torch import Tensor

from deta.structures.base import TensorStruct


@dataclass(frozen=True)
class Detections(TensorStruct):
    """Detections padded to a common number per image, best first.

    Attributes:
        boxes: ``[B, D, 4]`` ``xyxy`` in pixels of the original image; zero in padding.
        scores: ``[B, D]`` in 0..1, descending; zero in padding.
        labels: ``[B, D]`` int64 contiguous class index; zero in padding.
        is_detection: ``[B, D]`` bool, False in padding.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    is_detection: Tensor
