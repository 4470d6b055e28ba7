"""A threshold of IoU for every object, made of the overlaps of its nearest candidates."""

import torch
from torch import Tensor

from deta.assign.base import background
from deta.assign.claims import Claims
from deta.assign.scene import Part, in_pixels, is_empty, offsets, parts, per_candidate, require_parts, to_sides
from deta.ops.boxes import to_corners
from deta.ops.iou import box_iou
from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.structures import Matches, Prediction, Targets
from deta.utils.checks import require_int

_INSIDE = 0.01
"""Pixels by which a centre must lie inside of an object (mmdet 3.3)."""


class ATSSAssigner:
    """Of an object's nearest candidates on each level, those are positive that overlap it well for one of them.

    Well is from the mean of their overlaps plus one standard deviation on, with the centre of the prior inside of the
    object. A candidate of several objects answers for the one that it overlaps most; of equals for the first.

    Source: arXiv:1912.02424 (ATSS), algorithm 1; mmdet 3.3 (deviation with n - 1, inside by 0.01 pixels).

    Args:
        k: Candidates of an object on each level; all, where there are fewer.

    Raises:
        ValueError: ``k`` is below 1; when called, candidates without level.
    """

    needs = ("levels",)

    def __init__(self, *, k: int = 9) -> None:
        self.k = require_int("k", k, low=1)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """The best overlap of those above the threshold; ``contested`` are positive for several objects."""
        del draw
        require_parts(self, prediction)
        if is_empty(prediction, targets):
            return Matches(background(prediction))
        prediction, targets = in_pixels(prediction, targets)
        claims = Claims(prediction)
        for part in parts(prediction, targets):
            chosen, is_chosen, iou = self._nearest(prediction, part)  # [B, t, K]
            inside, _ = to_sides(prediction.priors, part.corners)  # [B, t, N]
            is_inside = inside.gather(2, chosen) > _INSIDE
            is_positive = is_chosen & is_inside & (iou >= _threshold(iou, is_chosen)[..., None])
            claims.add_some(torch.where(is_positive, iou, -torch.inf), chosen, part.start)
        return Matches(claims.owner, notes={"contested": claims.is_contested})

    @torch.no_grad()
    def thresholds(self, prediction: Prediction, targets: Targets) -> Tensor:
        """``[B, T]`` IoU from which on a near candidate is positive; of padding, any."""
        if is_empty(prediction, targets):
            return torch.zeros_like(targets.boxes[..., 0])
        prediction, targets = in_pixels(prediction, targets)
        found = [self._nearest(prediction, part)[1:] for part in parts(prediction, targets)]
        return torch.cat([_threshold(iou, is_chosen) for is_chosen, iou in found], dim=1)

    def _nearest(self, prediction: Prediction, part: Part) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, t, K]`` candidates of every object, whether they are some, and their IoU."""
        is_pair = part.is_pair(prediction.can_match())
        distance = offsets(prediction.priors, part.boxes).square().sum(-1).sqrt()  # [B, t, N]
        distance = distance.masked_fill(~is_pair, torch.inf)
        if prediction.grid is not None:
            sizes = [height * width * count for height, width, count in prediction.grid]
            chosen, nearest = _per_level(distance, sizes, self.k)
        else:
            assert prediction.levels is not None
            chosen, nearest = _by_level(distance, per_candidate(prediction.levels, prediction), self.k)
        num_images, num_objects, count = chosen.shape
        priors = take_rows(to_corners(prediction.priors), chosen.flatten(1)).view(num_images, num_objects, count, 4)
        return chosen, nearest < torch.inf, box_iou(part.corners[:, :, None], priors)


def _per_level(distance: Tensor, sizes: list[int], k: int) -> tuple[Tensor, Tensor]:
    """``[B, t, K]`` nearest candidates and their distance, for levels one after the other."""
    starts = [sum(sizes[:level]) for level in range(len(sizes))]
    tops = [level.topk(min(k, level.shape[2]), dim=2, largest=False) for level in distance.split(sizes, dim=2)]
    chosen = torch.cat([top.indices + start for top, start in zip(tops, starts, strict=True)], dim=2)
    return chosen, torch.cat([top.values for top in tops], dim=2)


def _by_level(distance: Tensor, levels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same for levels ``[B, N]`` in any order; K is N, and what is not near is infinitely far."""
    order = distance.argsort(dim=2, stable=True)  # [B, t, N]
    level, place = levels[:, None].expand_as(order).gather(2, order).sort(dim=2, stable=True)
    chosen = order.gather(2, place)
    rank = torch.arange(level.shape[2], device=level.device) - torch.searchsorted(level, level)  # in its level
    return chosen, distance.gather(2, chosen).masked_fill(rank >= k, torch.inf)


def _threshold(iou: Tensor, is_chosen: Tensor) -> Tensor:
    """``[B, t]`` mean and standard deviation of the chosen among ``[B, t, K]``; of one the deviation is 0."""
    count = is_chosen.sum(2)
    mean = iou.masked_fill(~is_chosen, 0.0).sum(2) / count.clamp(min=1)
    squares = (iou - mean[..., None]).square().masked_fill(~is_chosen, 0.0).sum(2)
    return mean + (squares / (count - 1).clamp(min=1)).sqrt()
