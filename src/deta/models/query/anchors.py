"""Initial boxes: one per encoder position, larger on coarser levels."""

import torch
from torch import Tensor

from deta.models.query.tokens import FeatureTokens

BORDER = 0.01
"""Coordinates of a valid anchor lie strictly between this and one minus this (arXiv:2010.04159, release)."""


def encoder_anchors(memory: FeatureTokens, scale: float, growth: float) -> tuple[Tensor, Tensor]:
    """The initial box of every encoder position and whether it may be used.

    Args:
        memory: The encoded image.
        scale: Width and height on the finest level, as fraction of the image.
        growth: Factor on width and height from one level to the next.

    Returns:
        ``[B, S, 4]`` float32 ``cxcywh`` relative to the unpadded image, ``(1, 1, 1, 1)`` where not valid, and
        ``[B, S]`` bool: a valid position is no padding and all its coordinates keep away from 0 and 1.
    """
    sizes = scale * growth ** memory.levels().float()  # [S]
    anchors = torch.cat(
        (memory.centres, sizes[None, :, None].expand(memory.centres.shape[0], -1, 2)), dim=-1
    )  # [B, S, 4]
    is_inside = ((anchors > BORDER) & (anchors < 1 - BORDER)).all(-1)
    is_valid = is_inside & ~memory.is_padding
    return anchors.where(is_valid[..., None], 1.0), is_valid
