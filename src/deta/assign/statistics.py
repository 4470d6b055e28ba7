"""What an assignment did, counted the same way for every rule."""

from operator import itemgetter

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.ops.iou import box_iou
from deta.ops.rows import take_rows
from deta.structures import IGNORED, SIZE_NAMES, Matches, MatchStatistics, Prediction, Targets


@torch.no_grad()
def statistics(
    matches: Matches, prediction: Prediction, targets: Targets, *, num_parts: int = 1
) -> list[MatchStatistics]:
    """Count what an assignment did; candidates that do not exist count nowhere.

    Args:
        matches: The assignment.
        prediction: What was assigned.
        targets: To what.
        num_parts: Equal parts of the batch that are counted apart, such as the stages of one rule.

    Returns:
        One for every part.
    """
    target = matches.target
    num_images, num_objects = targets.is_object.shape
    candidate = torch.arange(target.shape[1], device=target.device).expand_as(target)
    pairs = [(candidate, target, target >= 0)]
    if matches.extra is not None:
        pairs.append((matches.extra.query, matches.extra.target, matches.extra.is_pair))
    candidate, owner, is_pair = (torch.cat(column, dim=1) for column in zip(*pairs, strict=True))
    slot = owner.clamp(min=0)  # background is no index: it counts for object 0, with 0

    def per_object(index: Tensor, values: Tensor) -> Tensor:
        """``[B, T]`` sums; without objects nothing is counted."""
        sums = torch.zeros(num_images, num_objects, device=target.device)
        return sums.scatter_add(1, index, values.float()) if num_objects else sums

    overlap = box_iou(
        take_rows(box_convert(prediction.priors.float(), "cxcywh", "xyxy"), candidate),
        take_rows(box_convert(targets.boxes.float(), "cxcywh", "xyxy"), slot),
    )
    num_positives = per_object(slot, is_pair)
    size = targets.size_class()
    by_size = torch.stack([targets.is_object & (size == k) for k in range(len(SIZE_NAMES))])  # [3, B, T]

    def per_size(values: Tensor) -> Tensor:
        """``[P, 3]`` sums over the images of a part."""
        return (by_size * values).view(len(SIZE_NAMES), num_parts, -1).sum(2).float().T  # [P, 3]

    def per_part(values: Tensor) -> Tensor:
        """``[P]`` sums over the images of a part."""
        return values.view(num_parts, -1).sum(1).float()  # [P]

    is_ignored = (target == IGNORED) & (True if prediction.exists is None else prediction.exists)
    noted = {
        name: per_part(note) if note.dim() == 1 else per_size(per_object(target.clamp(min=0), note & (target >= 0)))
        for name, note in matches.notes.items()
    }
    sums = MatchStatistics(
        num_images=torch.full((num_parts,), num_images / num_parts, device=target.device),
        num_objects=per_size(torch.ones_like(num_positives)),
        num_positives=per_size(num_positives),
        num_unmatched=per_size(num_positives == 0),
        sum_iou=per_size(per_object(slot, overlap * is_pair)),
        num_ignored=per_part(is_ignored.sum(1)),
        noted=noted,
    )
    return [sums.map(itemgetter(part)) for part in range(num_parts)]
