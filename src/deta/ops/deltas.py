"""Boxes as deltas to other boxes, the code of anchor-based detectors."""

import math

import torch
from torch import Tensor

LARGEST_LOG = math.log(62.5)
"""Limit on the logarithm of a change of size in detectors that have one."""


def encode_deltas(priors: Tensor, boxes: Tensor) -> Tensor:
    """What moves and scales ``priors`` to ``boxes``.

    Source: arXiv:1506.01497, eq. 2.

    Args:
        priors: ``[..., 4]`` ``cxcywh`` with positive sides.
        boxes: ``[..., 4]`` in the same unit.

    Returns:
        ``[..., 4]``: shift of the centre in sides of the prior, logarithm of the change of the sides; finite for a
        box without area too.
    """
    shift = (boxes[..., :2] - priors[..., :2]) / priors[..., 2:]
    sides = boxes[..., 2:].clamp(min=torch.finfo(boxes.dtype).tiny)
    return torch.cat((shift, (sides / priors[..., 2:]).log()), dim=-1)


def decode_deltas(priors: Tensor, deltas: Tensor, largest_log: float = LARGEST_LOG) -> Tensor:
    """Boxes of ``deltas``: the inverse of ``encode_deltas``.

    Args:
        priors: ``[..., 4]`` ``cxcywh``.
        deltas: ``[..., 4]``.
        largest_log: Logarithms of the change of a side count as at most this.

    Returns:
        ``[..., 4]`` ``cxcywh`` in the unit of ``priors``.
    """
    centres = priors[..., :2] + deltas[..., :2] * priors[..., 2:]
    sides = priors[..., 2:] * deltas[..., 2:].clamp(max=largest_log).exp()
    return torch.cat((centres, sides), dim=-1)
