"""What the data loader hands to the model."""

from dataclasses import dataclass

from torch import Tensor

from deta.structures.base import TensorStruct
from deta.structures.targets import Targets


@dataclass(frozen=True)
class Batch(TensorStruct):
    """Images padded at the bottom and right to a common size, with their ground truth.

    Attributes:
        images: ``[B, 3, H, W]`` uint8 RGB; padding is 0. The model scales and normalises on its own device.
        is_padding: ``[B, H, W]`` bool, True on padding.
        targets: Ground truth; images without annotations have no object.
        image_ids: ``[B]`` int64 id of the image in its annotation file.
        original_sizes: ``[B, 2]`` int64 ``(height, width)`` of the image file, the scale of detections.
    """

    images: Tensor
    is_padding: Tensor
    targets: Targets
    image_ids: Tensor
    original_sizes: Tensor

    def __len__(self) -> int:
        return self.images.shape[0]
