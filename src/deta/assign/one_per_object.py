"""One candidate for every object, among those that overlap it."""

import torch

from deta.assign.base import background
from deta.assign.claims import Claims
from deta.assign.scene import in_pixels, is_empty, parts
from deta.ops.boxes import to_corners
from deta.ops.iou import box_giou, pairwise_iou
from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.structures import BACKGROUND, Matches, Prediction, Score, SigmoidScore, Targets
from deta.utils.checks import require_callable, require_number


class OnePerObjectAssigner:
    """Of the candidates that overlap an object most of all, and enough, the one with the best prediction.

    The best has the least ``giou_weight * (1 - GIoU) - score`` of predicted box and score of the object's class; of
    equals it is the first. All others are background.

    Source: arXiv:2011.10881 (TSP-RCNN), sec. 4.2, and its release, where this rule is that of the classes alone.

    Args:
        iou: Least IoU of prior and object, 0..1.
        giou_weight: Weight of the box beside the score, at least 0.
        score: How outputs become scores; None is their sigmoid.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, iou: float = 0.5, giou_weight: float = 2.0, score: Score | None = None) -> None:
        self.iou = require_number("iou", iou, low=0, high=1)
        self.giou_weight = require_number("giou_weight", giou_weight, low=0)
        self.score: Score = SigmoidScore() if score is None else score
        require_callable("score", self.score)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """At most one candidate of every object; ``contested`` are those that overlap several enough."""
        del draw
        target = background(prediction)
        if is_empty(prediction, targets):
            return Matches(target)
        prediction, targets = in_pixels(prediction, targets)
        priors, can_match = to_corners(prediction.priors), prediction.can_match()
        claims = Claims(prediction)
        for part in parts(prediction, targets):
            iou = pairwise_iou(part.corners, priors)  # [B, t, N]
            claims.add(iou.masked_fill(~part.is_pair(can_match) | (iou < self.iou), -torch.inf), part.start)
        owner = claims.owner.clamp(min=0)  # [B, N]
        labels = take_rows(targets.labels, owner)
        boxes, objects = to_corners(prediction.boxes_of(labels)), to_corners(take_rows(targets.boxes, owner))
        score = self.score(prediction).sigmoid().gather(2, labels[..., None])[..., 0]  # [B, N]
        cost = self.giou_weight * (1 - box_giou(boxes, objects)) - score
        # NaN of a prediction that is not finite is less than nothing: it would be the least of its object.
        cost = torch.where((claims.owner >= 0) & (cost < torch.inf), cost, torch.inf)
        none = torch.full_like(targets.boxes[..., 0], torch.inf)  # [B, T]
        least = none.scatter_reduce(1, owner, cost, reduce="amin")
        is_least = (cost < torch.inf) & (cost == take_rows(least, owner))
        place = torch.where(is_least, torch.arange(cost.shape[1], device=cost.device), cost.shape[1])
        first = torch.full_like(targets.labels, cost.shape[1]).scatter_reduce(1, owner, place, reduce="amin")
        is_first = is_least & (place == take_rows(first, owner))
        return Matches(torch.where(is_first, owner, BACKGROUND), notes={"contested": claims.is_contested & is_first})
