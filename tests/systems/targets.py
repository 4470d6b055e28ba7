"""Objects of the reference cases."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.structures import Targets


def targets_of(boxes: Tensor, labels: Tensor, counts: Sequence[int], sizes: Tensor) -> Targets:
    """The objects of a batch.

    Args:
        boxes: ``[sum of counts, 4]`` corners in pixels, those of an image after those of the one before.
        labels: ``[sum of counts]`` from 0.
        counts: Objects of every image.
        sizes: ``[B, 2]`` height and width of every image in pixels.
    """
    most, num_images = max(1, *counts), len(counts)
    is_object = torch.arange(most) < torch.tensor(counts)[:, None]
    padded, classes = torch.zeros(num_images, most, 4), torch.zeros(num_images, most, dtype=torch.int64)
    frame = sizes.float().flip(1).repeat(1, 2)  # [B, 4]
    padded[is_object] = box_convert(boxes, "xyxy", "cxcywh") / frame.repeat_interleave(torch.tensor(counts), 0)
    classes[is_object] = labels
    return Targets(
        padded,
        classes,
        is_object,
        areas=torch.zeros(num_images, most),
        ignore_boxes=torch.zeros(num_images, 1, 4),
        is_ignore=torch.zeros(num_images, 1, dtype=torch.bool),
        sizes=sizes.float(),
        most_objects=max(counts),
    )
