"""Candidates whose predictions are good in class and in box, with targets that say how good."""

from typing import NamedTuple

import torch
from torch import Tensor

from deta.assign.base import background
from deta.assign.claims import Claims
from deta.assign.scene import in_pixels, is_empty, own_boxes, parts, to_sides
from deta.ops.iou import box_iou
from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.structures import BACKGROUND, Matches, Prediction, Score, SigmoidScore, Targets
from deta.utils.checks import require_bool, require_callable, require_int, require_number

_INSIDE = 0.01
"""Pixels by which the centre of a prior must lie inside of an object (mmdet 3.3)."""
_EPS = 1e-7
"""Added to the highest metric of an object where it divides (mmdet 3.3)."""


class Aligned(NamedTuple):
    """The best candidates of every object, ``[B, T, k]`` each.

    Attributes:
        chosen: Their indices.
        metric: How well class and box agree with the object.
        iou: Of the predicted box.
        is_positive: Whether the centre of the prior lies in the object, and the metric is above 0.
    """

    chosen: Tensor
    metric: Tensor
    iou: Tensor
    is_positive: Tensor


class TaskAlignedAssigner:
    """The k best candidates of an object by ``score^alpha * IoU^beta`` of what they predict, over all levels.

    One that several objects have answers for the one that it overlaps most, of equals for the first.
    ``Matches.quality`` is the metric relative to the highest one of the object's positives, times their highest IoU.

    Source: arXiv:2108.07755 (TOOD), sec. 3.2; mmdet 3.3.

    Args:
        k: Candidates of every object; all, where there are fewer.
        alpha: Exponent of the score of the object's class, at least 0.
        beta: Exponent of the IoU, at least 0.
        score: How outputs become scores; None is their sigmoid.
        soft: Whether positives have a ``quality``, else each is a full one.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self, *, k: int = 13, alpha: float = 1.0, beta: float = 6.0, score: Score | None = None, soft: bool = True
    ) -> None:
        self.k = require_int("k", k, low=1)
        self.alpha = require_number("alpha", alpha, low=0)
        self.beta = require_number("beta", beta, low=0)
        self.score: Score = SigmoidScore() if score is None else score
        require_callable("score", self.score)
        self.soft = require_bool("soft", soft)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """The best candidates of every object; ``contested`` are those of several."""
        del draw
        if is_empty(prediction, targets):
            target = background(prediction)
            return Matches(target, torch.zeros(target.shape, device=target.device) if self.soft else None)
        best = self.best(prediction, targets)
        claims = Claims(prediction)
        claims.add_some(torch.where(best.is_positive, best.iou, -torch.inf), best.chosen, 0)
        quality = self._quality(best, claims.owner) if self.soft else None
        return Matches(claims.owner, quality, notes={"contested": claims.is_contested})

    @torch.no_grad()
    def best(self, prediction: Prediction, targets: Targets) -> Aligned:
        """The candidates of every object, best first; there are both."""
        prediction, targets = in_pixels(prediction, targets)
        scores = self.score(prediction).sigmoid()  # [B, N, C]
        can_match, k = prediction.can_match(), min(self.k, prediction.num_candidates)
        found = []
        for part in parts(prediction, targets):
            iou = box_iou(part.corners[:, :, None], own_boxes(prediction, part.labels))  # [B, t, N]
            of_class = scores.gather(2, part.labels[:, None].expand(-1, scores.shape[1], -1)).transpose(1, 2)
            metric = of_class**self.alpha * iou**self.beta  # [B, t, N]
            # NaN of a prediction that is not finite, which topk would prefer, is above nothing either.
            metric = torch.where(part.is_pair(can_match) & (metric > 0), metric, 0.0)
            top, chosen = metric.topk(k, dim=2)
            inside, _ = to_sides(prediction.priors, part.corners)
            is_positive = (top > 0) & (inside.gather(2, chosen) > _INSIDE)
            found.append(Aligned(chosen, top, iou.gather(2, chosen), is_positive))
        return Aligned(*(torch.cat(column, dim=1) for column in zip(*found, strict=True)))

    def _quality(self, best: Aligned, owner: Tensor) -> Tensor:
        """``[B, N]`` of positives that kept their object; 0 of all others."""
        objects = torch.arange(best.chosen.shape[1], device=owner.device)[:, None]  # [T, 1]
        kept = best.is_positive & (take_rows(owner, best.chosen.flatten(1)).view_as(best.chosen) == objects)
        metric, iou = (torch.where(kept, values, 0.0) for values in (best.metric, best.iou))
        factor = iou.amax(2, keepdim=True) / (metric.amax(2, keepdim=True) + _EPS)
        quality = torch.zeros(owner.shape, device=owner.device)
        # A candidate is kept by one object; the others add 0.
        quality = quality.scatter_add(1, best.chosen.flatten(1), (metric * factor).flatten(1))
        return torch.where(owner == BACKGROUND, 0.0, quality)
