"""One-to-one assignment by least total cost."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert

from deta.assign.base import background, statistics
from deta.ops.iou import pairwise_giou
from deta.structures import BACKGROUND, Candidates, Matches, Targets
from deta.utils.checks import require_number

UNMATCHABLE = 1e6
"""Cost of a candidate that must not be chosen while another is left."""


class HungarianAssigner:
    """Every object gets the one candidate that makes the total cost least.

    The cost of a pair is ``class_weight * (focal cost of the positive less that of the negative label) +
    l1_weight * L1 distance of cxcywh boxes - giou_weight * GIoU``, of the predictions, not the references.

    Source: arXiv:2005.12872, sec. 3.1 and arXiv:2010.04159, sec. A.4 (focal cost).

    Args:
        class_weight: Weight of the classification cost, at least 0.
        l1_weight: Weight of the L1 cost, at least 0.
        giou_weight: Weight of the GIoU cost, at least 0.
        alpha: Balance of the focal cost, 0..1.
        gamma: Focusing exponent of the focal cost, at least 0.

    Raises:
        ValueError: An argument lies outside its range, or all weights are 0.
    """

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
    ) -> None:
        self.class_weight = require_number("class_weight", class_weight, low=0)
        self.l1_weight = require_number("l1_weight", l1_weight, low=0)
        self.giou_weight = require_number("giou_weight", giou_weight, low=0)
        self.alpha = require_number("alpha", alpha, low=0, high=1)
        self.gamma = require_number("gamma", gamma, low=0)
        if self.class_weight == self.l1_weight == self.giou_weight == 0:
            raise ValueError("class_weight, l1_weight and giou_weight are all 0: nothing decides the assignment")

    @torch.no_grad()
    def __call__(self, candidates: Candidates, targets: Targets, generator: torch.Generator | None = None) -> Matches:
        """See ``Assigner``. Deterministic; synchronises once."""
        del generator
        target = solve([self.cost(candidates, targets)], [targets])[0]
        return self.matches(target, candidates, targets)

    @torch.no_grad()
    def cost(self, candidates: Candidates, targets: Targets) -> Tensor:
        """Cost of every pair, ``[B, Q, T]`` float32; padding of T holds arbitrary finite values."""
        num_images, num_queries, _ = candidates.logits.shape
        index = targets.labels[:, None, :].expand(num_images, num_queries, -1)
        class_cost = _focal_cost(candidates.logits.float().gather(2, index), self.alpha, self.gamma)
        boxes, objects = candidates.boxes.float(), targets.boxes.float()
        l1_cost = torch.cdist(boxes, objects, p=1)
        giou = pairwise_giou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(objects, "cxcywh", "xyxy"))
        cost = self.class_weight * class_cost + self.l1_weight * l1_cost - self.giou_weight * giou
        return torch.where(candidates.is_valid[:, :, None], cost, UNMATCHABLE)

    @staticmethod
    def matches(target: Tensor, candidates: Candidates, targets: Targets) -> Matches:
        """Wrap a solution of ``solve``, dropping candidates that are not valid."""
        target = torch.where(candidates.is_valid, target.to(candidates.is_valid.device), background(candidates))
        return Matches(target, statistics(target, candidates, targets))


def solve(costs: Sequence[Tensor], targets: Sequence[Targets]) -> list[Tensor]:
    """Solve every image of every problem after one transfer from the device.

    Args:
        costs: ``[B, Q, T]`` of each problem.
        targets: The objects of each problem.

    Returns:
        ``[B, Q]`` int64 object index or ``BACKGROUND`` for each problem, on the CPU.

    A cost that is not finite counts as ``UNMATCHABLE``: the loss of such predictions is not finite either,
    and the training loop then stops all ranks together, where an error here would stop only this one.
    """
    tables = [cost.float() for cost in costs] + [problem.is_object.float() for problem in targets]
    flat = torch.cat([table.flatten() for table in tables])
    host = flat.nan_to_num(UNMATCHABLE, UNMATCHABLE, -UNMATCHABLE).cpu()
    pieces = host.split([table.numel() for table in tables])
    arrays = [piece.view(table.shape).numpy() for piece, table in zip(pieces, tables, strict=True)]
    return [
        torch.stack([_solve_image(*image) for image in zip(cost, is_object > 0, strict=True)])
        for cost, is_object in zip(arrays[: len(costs)], arrays[len(costs) :], strict=True)
    ]


def _solve_image(cost: NDArray[np.float32], is_object: NDArray[np.bool_]) -> Tensor:
    """``[Q, T]`` and ``[T]`` give ``[Q]``; with more objects than queries some stay unmatched."""
    objects = np.flatnonzero(is_object)
    query, chosen = linear_sum_assignment(cost[:, objects])
    target = torch.full((len(cost),), BACKGROUND, dtype=torch.int64)
    target[torch.from_numpy(query)] = torch.from_numpy(objects[chosen])
    return target


def _focal_cost(logits: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of the positive label less that of the negative one; 1e-8 as in the release."""
    probability = logits.sigmoid()
    positive = alpha * (1 - probability) ** gamma * -(probability + 1e-8).log()
    negative = (1 - alpha) * probability**gamma * -(1 - probability + 1e-8).log()
    return positive - negative
