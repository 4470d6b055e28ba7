"""Boxes in another form."""

import torch
from torch import Tensor


def to_corners(boxes: Tensor) -> Tensor:
    """``[..., 4]`` ``xyxy`` of ``cxcywh``, in four operations; a negative side turns a box inside out."""
    centres, halves = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centres - halves, centres + halves), dim=-1)
