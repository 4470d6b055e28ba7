"""What an assigner is, and what every assigner shares."""

from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.ops.iou import box_iou, pairwise_iou
from deta.structures import (
    BACKGROUND,
    IGNORED,
    SIZE_NAMES,
    Candidates,
    ExtraPairs,
    Matches,
    MatchStatistics,
    Targets,
)


class Assigner(Protocol):
    """Decides which candidate answers for which object. Third-party strategies implement this."""

    def __call__(self, candidates: Candidates, targets: Targets, generator: torch.Generator | None = None) -> Matches:
        """Assign every candidate of a batch to an object, to the background, or to nothing.

        Args:
            candidates: Boxes to choose from; those that are not valid must not become positive.
            targets: Objects, padded; padding must not receive a candidate.
            generator: Source of randomness on the device of the candidates; None is the global one.

        Returns:
            Matches without gradient.
        """
        ...


def candidate_iou(candidates: Candidates, targets: Targets) -> Tensor:
    """IoU of objects and reference boxes, ``[B, T, Q]`` float32; -1 for padding and candidates not valid."""
    objects = box_convert(targets.boxes.float(), "cxcywh", "xyxy")
    references = box_convert(candidates.references.float(), "cxcywh", "xyxy")
    is_pair = targets.is_object[:, :, None] & candidates.is_valid[:, None, :]
    return pairwise_iou(objects, references).masked_fill(~is_pair, -1.0)


def background(candidates: Candidates) -> Tensor:
    """``[B, Q]`` target in which every candidate is background."""
    return torch.full_like(candidates.is_valid, BACKGROUND, dtype=torch.int64)


def statistics(
    target: Tensor,
    candidates: Candidates,
    targets: Targets,
    *,
    extra: ExtraPairs | None = None,
    is_rescued: Tensor | None = None,
    num_contested: Tensor | None = None,
    is_cut: Tensor | None = None,
) -> MatchStatistics:
    """Count what an assignment did.

    Args:
        target: ``[B, Q]`` as in ``Matches.target``.
        candidates: What was assigned.
        targets: To what.
        extra: Pairs beyond ``target``.
        is_rescued: ``[B, Q]`` bool, positive by the closest-box rule alone; None means none.
        num_contested: Scalar; None means none.
        is_cut: ``[B]`` bool, image in which sampling dropped positives; None means none.
    """
    num_images, num_objects = targets.is_object.shape
    query = torch.arange(target.shape[1], device=target.device).expand_as(target)
    pairs = [(query, target, target >= 0)]
    if extra is not None:
        pairs.append((extra.query, extra.target, extra.is_pair))
    query, owner, is_pair = (torch.cat(column, dim=1) for column in zip(*pairs, strict=True))
    per_object = torch.zeros(num_images, num_objects, device=target.device)
    sum_iou = torch.zeros_like(per_object)
    rescued = torch.zeros_like(per_object)
    if num_objects > 0:
        slot = owner.clamp(min=0)
        overlap = box_iou(
            _gather(box_convert(candidates.references.float(), "cxcywh", "xyxy"), query),
            _gather(box_convert(targets.boxes.float(), "cxcywh", "xyxy"), slot),
        )
        per_object = per_object.scatter_add(1, slot, is_pair.float())
        sum_iou = sum_iou.scatter_add(1, slot, overlap * is_pair)
        if is_rescued is not None:
            rescued = rescued.scatter_add(1, target.clamp(min=0), (is_rescued & (target >= 0)).float())
    by_size = torch.stack([targets.is_object & (targets.size_class() == k) for k in range(len(SIZE_NAMES))])

    def per_size(values: Tensor) -> Tensor:
        return (by_size * values).sum((1, 2)).float()  # [3]

    zero = torch.zeros((), device=target.device)
    return MatchStatistics(
        num_images=torch.full_like(zero, num_images),
        num_objects=per_size(torch.ones_like(per_object)),
        num_positives=per_size(per_object),
        num_unmatched=per_size(per_object == 0),
        sum_iou=per_size(sum_iou),
        num_rescued=per_size(rescued),
        num_contested=zero if num_contested is None else num_contested.float(),
        num_ignored=(target == IGNORED).sum().float(),
        num_cut_images=zero if is_cut is None else is_cut.sum().float(),
    )


def _gather(boxes: Tensor, index: Tensor) -> Tensor:
    return boxes.gather(1, index[..., None].expand(-1, -1, 4))
