"""Loss terms of one stage, as sums over its candidates."""

import torch
from torch import Tensor
from torchvision.ops import box_convert, sigmoid_focal_loss

from deta.ops.iou import box_giou
from deta.structures import IGNORED, Matches, Targets


def classification_loss(
    logits: Tensor,
    matches: Matches,
    targets: Targets,
    *,
    alpha: float,
    gamma: float,
    is_counted: Tensor | None = None,
) -> Tensor:
    """Sigmoid focal loss, summed over candidates and classes; ignored candidates count nothing.

    Source: arXiv:1708.02002, eq. 5.

    Args:
        logits: ``[B, Q, C]``, any float dtype; computed in float32.
        matches: The assignment. A candidate with two objects has the class of the one in ``target``.
        targets: The objects.
        alpha: Weight of the positive label, 0..1.
        gamma: Focusing exponent.
        is_counted: ``[B, C]`` bool, classes that count for all candidates of an image; a positive counts its own class
            in any case. None counts every class.

    Returns:
        Scalar float32.
    """
    num_classes = logits.shape[2]
    label = torch.where(matches.is_positive(), take_rows(targets.labels, matches.target), -1)  # [B, Q]
    one_hot = label[..., None] == torch.arange(num_classes, device=logits.device)
    loss: Tensor = sigmoid_focal_loss(logits.float(), one_hot.float(), alpha=alpha, gamma=gamma)
    is_used = (matches.target != IGNORED)[..., None]
    if is_counted is not None:
        is_used = is_used & (is_counted[:, None] | one_hot)
    return (loss * is_used).sum()


def box_losses(boxes: Tensor, matches: Matches, targets: Targets) -> tuple[Tensor, Tensor]:
    """L1 distance and GIoU loss, each summed over all (candidate, object) pairs.

    Source: arXiv:2005.12872, sec. 3.2 (L1 on normalised ``cxcywh``, ``1 - GIoU``).

    Args:
        boxes: ``[B, Q, 4]`` predicted ``cxcywh`` in 0..1, any float dtype; computed in float32.
        matches: The assignment, extra pairs included.
        targets: The objects.

    Returns:
        Two float32 scalars.
    """
    boxes = boxes.float()
    l1, giou = _pair_losses(boxes, take_rows(targets.boxes, matches.target), matches.is_positive())
    if matches.extra is not None:
        extra = matches.extra
        more_l1, more_giou = _pair_losses(
            take_rows(boxes, extra.query), take_rows(targets.boxes, extra.target), extra.is_pair
        )
        l1, giou = l1 + more_l1, giou + more_giou
    return l1, giou


def num_pairs(matches: Matches) -> Tensor:
    """Number of (candidate, object) pairs, a float32 scalar."""
    count = matches.is_positive().sum(dtype=torch.float32)
    return count if matches.extra is None else count + matches.extra.is_pair.sum()


def _pair_losses(boxes: Tensor, objects: Tensor, is_pair: Tensor) -> tuple[Tensor, Tensor]:
    l1 = (boxes - objects).abs().sum(-1)
    giou = box_giou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(objects, "cxcywh", "xyxy"))
    return (l1 * is_pair).sum(), ((1 - giou) * is_pair).sum()


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """``values[b, index[b, q]]`` of ``[B, T]`` or ``[B, T, D]``; negative index reads row 0, T = 0 reads 0."""
    if values.shape[1] == 0:
        return values.new_zeros(*index.shape, *values.shape[2:])
    index = index.clamp(min=0)
    if values.dim() == 3:
        return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
    return values.gather(1, index)
