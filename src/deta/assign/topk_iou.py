"""The best candidates of every object by IoU, without a threshold."""

import torch
from torch import Tensor

from deta.assign.base import background
from deta.assign.scene import in_pixels, is_empty, parts
from deta.ops.boxes import to_corners
from deta.ops.iou import pairwise_iou
from deta.ops.random import Draw
from deta.structures import BACKGROUND, Matches, Prediction, Targets
from deta.utils.checks import require_int


class TopKIoUAssigner:
    """Every object has its k best candidates by IoU; one that several have serves the object of the best rank.

    Of equal ranks the first object has it. Overlaps are those of priors, in pixels; which of equal overlaps counts as
    better is open, and equal anchors around a small object tie as a rule.

    Source: arXiv:2210.02318 (FQDet), sec. 3, and its release (static matching). Differs: candidates without any overlap
    are not taken, of which the release takes any where there are too few others.

    Args:
        k: Candidates of every object; all, where there are fewer.

    Raises:
        ValueError: ``k`` is below 1.
    """

    def __init__(self, *, k: int = 15) -> None:
        self.k = require_int("k", k, low=1)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """The object of the best rank for every candidate; ``contested`` are those that several objects have."""
        del draw
        target, num_objects = background(prediction), targets.is_object.shape[1]
        if is_empty(prediction, targets):
            return Matches(target)
        chosen, overlap = self.best(prediction, targets)
        is_pair = overlap > 0  # [B, T, k]
        rank = torch.arange(chosen.shape[2], device=chosen.device)
        # In order of rank, then object: the smallest place of a candidate is that of the object that it serves.
        places = rank * num_objects + torch.arange(num_objects, device=chosen.device)[:, None]  # [T, k]
        none = self.k * num_objects
        claims = torch.where(is_pair, places, none).flatten(1)  # [B, T * k]
        first = torch.full_like(target, none).scatter_reduce(1, chosen.flatten(1), claims, reduce="amin")
        count = torch.zeros_like(target).scatter_add(1, chosen.flatten(1), is_pair.long().flatten(1))
        target = torch.where(first < none, first % num_objects, BACKGROUND)
        return Matches(target, notes={"contested": count > 1})

    def best(self, prediction: Prediction, targets: Targets) -> tuple[Tensor, Tensor]:
        """Candidates of every object.

        Returns:
            ``[B, T, k]`` candidates, best first, and their IoU: -1 for padding and candidates that cannot match.
        """
        prediction, targets = in_pixels(prediction, targets)
        priors, can_match = to_corners(prediction.priors), prediction.can_match()
        k = min(self.k, prediction.num_candidates)
        values, indices = [], []
        for part in parts(prediction, targets):
            iou = pairwise_iou(part.corners, priors).masked_fill(~part.is_pair(can_match), -1.0)  # [B, t, N]
            top = iou.topk(k, dim=2)
            values.append(top.values)
            indices.append(top.indices)
        return torch.cat(indices, dim=1), torch.cat(values, dim=1)
