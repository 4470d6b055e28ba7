"""Random choice of a limited number of positives per image."""

import torch
from torch import Tensor

from deta.ops.random import Draw


def keep_random(is_positive: Tensor, limit: int, draw: Draw) -> Tensor:
    """Keep at most ``limit`` random positives of every image.

    Args:
        is_positive: ``[B, Q]`` bool.
        limit: Largest number kept per image, at least 0.
        draw: Source of randomness.

    Returns:
        ``[B, Q]`` bool; equal to ``is_positive`` in images that are within the limit.
    """
    priority = draw.uniform("priority", is_positive.shape, is_positive.device)
    # 2 is above every priority: what is not positive ranks last.
    order = torch.where(is_positive, priority, 2.0).argsort(dim=1)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return is_positive & (rank < limit)
