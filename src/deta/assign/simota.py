"""Candidates near an object that are cheapest for it, as many as overlap it."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from deta.assign.base import background
from deta.assign.claims import Claims
from deta.assign.scene import (
    Part,
    in_pixels,
    is_empty,
    offsets,
    own_boxes,
    parts,
    per_candidate,
    require_parts,
    to_sides,
)
from deta.ops.iou import box_iou
from deta.ops.random import Draw
from deta.structures import BACKGROUND, Matches, Prediction, Score, SigmoidScore, Targets
from deta.utils.checks import require_bool, require_callable, require_int, require_number

_LEAST_LOG = -100.0
"""Below it a logarithm of a score is cut, as in PyTorch's binary cross-entropy."""
_EPS = 1e-8
"""Added to an IoU under the logarithm, as published."""


class SimOTAAssigner:
    """Every object has the k cheapest of the candidates near an object, with k the sum of its highest IoU.

    The cost of a pair is the binary cross-entropy of all scores plus ``iou_weight * -log(IoU)`` of the prediction, and
    ``outside_cost`` where the prior is not near this very object. A candidate that several objects have answers for the
    object for which it is cheapest of all, also one that does not have it. IoU, cost and k count candidates near any
    object alone; where there are none, nothing is positive (YOLOX stops there).

    Source: arXiv:2107.08430 (YOLOX), sec. 2.1; the release as of 2022 (default), and mmdet 3.3, which follows the
    paper: ``radius=2.5, or_inside=True, outside_cost=1e5``.

    Args:
        radius: A prior is near whose centre is nearer to that of the object along both axes, in strides, above 0.
        or_inside: Whether centres inside of an object are candidates too; near this very object is then, inside and
            near.
        outside_cost: See above, at least 0.
        iou_weight: See above, at least 0.
        k: Highest IoU of an object that are summed, at least 1; it has at least 1 and at most so many candidates.
        score: How outputs become scores; None is their sigmoid. In YOLOX it is ``QualityScore(root=True)``.

    Raises:
        ValueError: An argument lies outside its range; when called, candidates without stride.
    """

    needs = ("strides",)

    def __init__(
        self,
        *,
        radius: float = 1.5,
        or_inside: bool = False,
        outside_cost: float = 1e6,
        iou_weight: float = 3.0,
        k: int = 10,
        score: Score | None = None,
    ) -> None:
        self.radius = require_number("radius", radius, low=1e-6)
        self.or_inside = require_bool("or_inside", or_inside)
        self.outside_cost = require_number("outside_cost", outside_cost, low=0)
        self.iou_weight = require_number("iou_weight", iou_weight, low=0)
        self.k = require_int("k", k, low=1)
        self.score: Score = SigmoidScore() if score is None else score
        require_callable("score", self.score)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """The cheapest candidates; ``contested`` are those that several objects have."""
        del draw
        require_parts(self, prediction)
        if is_empty(prediction, targets):
            return Matches(background(prediction))
        prediction, targets = in_pixels(prediction, targets)
        cheapest, owner = Claims(prediction), background(prediction)
        count = torch.zeros_like(owner)
        for part, iou, cost in self._costs(prediction, targets):
            cheapest.add(-cost, part.start)
            least, chosen = cost.topk(min(self.k, cost.shape[2]), dim=2, largest=False)  # [B, t, k]
            number = iou.topk(least.shape[2], dim=2).values.sum(2, keepdim=True).long().clamp(min=1)  # [B, t, 1]
            is_taken = (torch.arange(least.shape[2], device=least.device) < number) & (least < torch.inf)
            index = part.start + torch.arange(least.shape[1], device=least.device)[:, None]  # [t, 1]
            claims = torch.where(is_taken, index, BACKGROUND).flatten(1)
            owner = owner.scatter_reduce(1, chosen.flatten(1), claims, reduce="amax")
            count = count.scatter_add(1, chosen.flatten(1), is_taken.long().flatten(1))
        is_contested = count > 1
        return Matches(torch.where(is_contested, cheapest.owner, owner), notes={"contested": is_contested})

    def _near(self, prediction: Prediction, part: Part) -> tuple[Tensor, Tensor]:
        """``[B, t, N]`` whether an object makes a prior a candidate, and whether it is near the object."""
        assert prediction.strides is not None
        distance = offsets(prediction.priors, part.boxes).abs().amax(-1)
        is_pair = part.is_pair(prediction.can_match())
        is_near = is_pair & (distance < self.radius * per_candidate(prediction.strides, prediction)[:, None])
        if not self.or_inside:
            return is_near, is_near
        is_inside = is_pair & (to_sides(prediction.priors, part.corners)[0] > 0)
        return is_near | is_inside, is_near & is_inside

    @torch.no_grad()
    def costs(self, prediction: Prediction, targets: Targets) -> Tensor:
        """``[B, T, N]`` cost of every pair, infinite where there is no candidate; there are objects."""
        return torch.cat([cost for _, _, cost in self._costs(*in_pixels(prediction, targets))], dim=1)

    def _costs(self, prediction: Prediction, targets: Targets) -> Iterator[tuple[Part, Tensor, Tensor]]:
        """Some objects after others: ``[B, t, N]`` IoU, 0 where there is no candidate, and cost, infinite there."""
        objects = parts(prediction, targets)
        is_candidate = torch.zeros_like(prediction.can_match())
        for part in objects:
            is_candidate = is_candidate | self._near(prediction, part)[0].any(1)
        absent, present = _cross_entropy(self.score(prediction))
        for part in objects:
            is_pair = part.is_pair(is_candidate)
            iou = box_iou(part.corners[:, :, None], own_boxes(prediction, part.labels))
            # NaN of a prediction that is not finite overlaps nothing.
            iou = torch.where(is_pair & (iou > 0), iou, 0.0)
            index = part.labels[:, None].expand(-1, present.shape[1], -1)  # [B, N, t]
            of_class = absent[:, None] + present.gather(2, index).transpose(1, 2)  # [B, t, N]
            # In this order: the last sum rounds to steps in which costs tie.
            cost = of_class - self.iou_weight * (iou + _EPS).log()
            cost = cost + self.outside_cost * ~self._near(prediction, part)[1]
            yield part, iou, torch.where(is_pair & (cost < torch.inf), cost, torch.inf)


def _cross_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, N]`` binary cross-entropy of all classes as absent, and ``[B, N, C]`` what one that is present adds."""
    absent, present = (-logsigmoid(sign * logits).clamp(min=_LEAST_LOG) for sign in (-1, 1))
    return absent.sum(2), present - absent
