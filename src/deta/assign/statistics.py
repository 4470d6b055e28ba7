"""What an assignment did, counted the same way for every rule."""

from operator import itemgetter

import torch
from torch import Tensor
from torch.nn import functional

from deta.ops.boxes import to_corners
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
    priors, objects = to_corners(prediction.priors.float()), to_corners(targets.boxes.float())
    owner, is_pair, flags = matches.target, matches.is_positive(), _flags(matches)
    if matches.extra is not None:
        extra = matches.extra
        owner, is_pair = torch.cat((owner, extra.target), dim=1), torch.cat((is_pair, extra.is_pair), dim=1)
        priors = torch.cat((priors, take_rows(priors, extra.query)), dim=1)
        flags = {name: functional.pad(flag, (0, extra.target.shape[1])) for name, flag in flags.items()}
    overlap = box_iou(priors, take_rows(objects, owner)) * is_pair
    of_pairs = torch.stack([overlap, is_pair, *(flag & is_pair for flag in flags.values())], dim=-1)  # [B, M, K]
    sums = _per_size(_per_object(owner, of_pairs, targets), targets, num_parts).unbind(-1)  # [P, 3] each

    def per_part(values: Tensor) -> Tensor:
        """``[P]`` number of flags over the images of a part."""
        return values.view(num_parts, -1).sum(1, dtype=torch.float32)  # [P]

    num_images = len(owner) / num_parts
    is_ignored = matches.target == IGNORED
    noted = {name: per_part(note) for name, note in matches.notes.items() if note.dim() == 1}
    whole = MatchStatistics(
        num_images=torch.full((num_parts,), num_images, device=owner.device),
        num_objects=sums[0],
        num_unmatched=sums[1],
        sum_iou=sums[2],
        num_positives=sums[3],
        num_ignored=per_part(is_ignored if prediction.exists is None else is_ignored & prediction.exists),
        noted=noted | dict(zip(flags, sums[4:], strict=True)),
    )
    return [whole.map(itemgetter(part)) for part in range(num_parts)]


def _flags(matches: Matches) -> dict[str, Tensor]:
    """Notes on candidates, ``[B, N]``."""
    return {name: note for name, note in matches.notes.items() if note.dim() == 2}


def _per_object(owner: Tensor, of_pairs: Tensor, targets: Targets) -> Tensor:
    """``[B, T, 2 + K]``: 1, whether the object has no pair, and the sums of the ``[B, M, K]`` over its pairs."""
    sums = of_pairs.new_zeros(*targets.is_object.shape, of_pairs.shape[2])  # [B, T, K]
    if sums.shape[1] > 0:
        # Background is no index: it counts for object 0, with 0.
        sums = sums.scatter_add(1, owner.clamp(min=0)[..., None].expand_as(of_pairs), of_pairs)
    is_unmatched = sums[..., 1:2] == 0
    return torch.cat((torch.ones_like(is_unmatched), is_unmatched, sums), dim=-1)


def _per_size(of_objects: Tensor, targets: Targets, num_parts: int) -> Tensor:
    """``[P, 3, K]`` sums of the ``[B, T, K]`` over the objects of a size in the images of a part."""
    sizes = torch.arange(len(SIZE_NAMES), device=of_objects.device)
    is_size = (targets.size_class()[..., None] == sizes) & targets.is_object[..., None]  # [B, T, 3]
    counted = is_size[..., None] * of_objects[:, :, None]  # [B, T, 3, K]
    return counted.view(num_parts, -1, *counted.shape[2:]).sum(1)
