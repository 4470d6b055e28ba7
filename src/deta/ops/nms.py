"""Non-maximum suppression inside groups (classes or feature levels), for a batch."""

import torch
from torch import Tensor
from torchvision.ops import nms


def grouped_nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    groups: Tensor,
    iou_threshold: float,
    is_candidate: Tensor | None = None,
) -> Tensor:
    """Which boxes survive greedy suppression by better boxes of their own group and image.

    Groups are moved apart so that boxes of two never overlap, in float64 where this costs no precision.
    This is the one algorithm on every device and for every size; ``torchvision.ops.batched_nms`` switches
    between two of them by size. Of two equal scores the earlier box wins.

    Args:
        boxes_xyxy: ``[B, N, 4]`` corners in any unit; ``N`` may be 0.
        scores: ``[B, N]``.
        groups: ``[B, N]`` int64, not negative.
        iou_threshold: A box goes when its IoU with a kept better box exceeds this.
        is_candidate: ``[B, N]`` bool; False is never kept and suppresses nothing. None means all.

    Returns:
        ``[B, N]`` bool, True for survivors.
    """
    with torch.no_grad():
        keep: Tensor = _suppress(boxes_xyxy, scores, groups, iou_threshold, is_candidate)
        return keep


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the number of survivors is data
def _suppress(
    boxes_xyxy: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, is_candidate: Tensor | None
) -> Tensor:
    keep = torch.zeros_like(scores, dtype=torch.bool)
    if boxes_xyxy.numel() == 0:
        return keep
    boxes = boxes_xyxy.double()
    span = boxes.amax((1, 2)) - boxes.amin((1, 2)) + 1  # [B]
    boxes = boxes + (groups * span[:, None])[..., None]
    if is_candidate is not None:  # last in line: what these suppress is dropped anyway
        scores = scores.masked_fill(~is_candidate, -torch.inf)
    for image in range(len(boxes)):
        keep[image, nms(boxes[image], scores[image].double(), iou_threshold)] = True
    return keep if is_candidate is None else keep & is_candidate
