"""Random choice of a limited number of positives per image."""

import torch
from torch import Tensor


def keep_random(is_positive: Tensor, limit: int, generator: torch.Generator | None) -> Tensor:
    """Keep at most ``limit`` random positives of every image.

    Args:
        is_positive: ``[B, Q]`` bool.
        limit: Largest number kept per image, at least 0.
        generator: Source of randomness on the device of ``is_positive``; None is the global one.

    Returns:
        ``[B, Q]`` bool; equal to ``is_positive`` in images that are within the limit.
    """
    priority = torch.rand(is_positive.shape, device=is_positive.device, generator=generator)
    order = torch.where(is_positive, priority, 2.0).argsort(dim=1)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return is_positive & (rank < limit)
