"""Non-maximum suppression inside groups (classes or feature levels), for a batch."""

import torch
from torch import Tensor
from torchvision.ops import nms

from deta.ops.rows import take_rows

LARGEST = 2.0**24
"""Coordinate up to which float32 knows every integer; one box far beyond it would cost the others their precision."""


def grouped_nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    groups: Tensor,
    iou_threshold: float,
    is_candidate: Tensor | None = None,
) -> Tensor:
    """Which boxes survive greedy suppression by better boxes of their own group and image.

    Groups are moved apart so that boxes of two never overlap, in float64 where this costs no precision.
    This is the one algorithm for every size; ``torchvision.ops.batched_nms`` switches between two of them.
    A CPU runs torchvision's loop, a GPU kernels of the same arithmetic that need no host. Of two equal scores the
    earlier box wins.

    Args:
        boxes_xyxy: ``[B, N, 4]`` corners in any unit; ``N`` may be 0.
        scores: ``[B, N]``.
        groups: ``[B, N]`` int64, not negative.
        iou_threshold: A box goes when its IoU with a kept better box exceeds this.
        is_candidate: ``[B, N]`` bool; False is never kept and suppresses nothing. None means all.

    Returns:
        ``[B, N]`` bool, True for survivors. A candidate whose score is NaN, or with a coordinate that is not finite or
        beyond 2^24, has no part in this: it survives and suppresses nothing.
    """
    if is_candidate is None:
        is_candidate = torch.ones_like(scores, dtype=torch.bool)
    keep: Tensor = _suppress(boxes_xyxy.detach(), scores.detach(), groups, iou_threshold, is_candidate)
    return keep


# An operator of its own, since the number of survivors inside is data that torch.compile cannot trace.
@torch.library.custom_op("deta::grouped_nms", mutates_args=())
def _suppress(boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, is_candidate: Tensor) -> Tensor:
    keep = torch.zeros_like(is_candidate)
    if boxes_xyxy.numel() == 0:
        return keep
    is_sane = (boxes_xyxy.abs() <= LARGEST).all(2) & ~scores.isnan()
    takes_part = is_candidate & is_sane
    boxes = boxes_xyxy.double().masked_fill(~takes_part[..., None], 0)  # without area they overlap nothing
    span = boxes.amax((1, 2)) - boxes.amin((1, 2)) + 1  # [B]
    boxes = boxes + (groups * span[:, None])[..., None]  # [B, N, 4]
    ranks = scores.double().masked_fill(~takes_part, -torch.inf)
    if boxes.is_cuda:
        from deta_kernels.nms import survivors  # Triton is imported at the first use

        order = ranks.argsort(dim=1, descending=True, stable=True)
        keep.scatter_(1, order, survivors(take_rows(boxes, order), iou_threshold))
    else:
        for image in range(len(boxes)):
            rows = takes_part[image].nonzero()[:, 0]  # its time grows with the square of their number
            keep[image, rows[nms(boxes[image, rows], ranks[image, rows], iou_threshold)]] = True
    return torch.where(takes_part, keep, is_candidate)


@_suppress.register_fake
def _(boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, is_candidate: Tensor) -> Tensor:
    del boxes_xyxy, scores, groups, iou_threshold
    return torch.empty_like(is_candidate)
