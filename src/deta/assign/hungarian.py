"""One-to-one assignment by least total cost."""

from dataclasses import replace

import torch
from torch import Tensor

from deta.assign.base import Problem
from deta.ops.boxes import to_corners
from deta.ops.iou import box_giou, pairwise_giou
from deta.ops.random import Draw
from deta.structures import BACKGROUND, Matches, Prediction, Targets
from deta.utils.checks import require_choice, require_number


class HungarianAssigner:
    """Every object gets the one candidate that makes the total cost least.

    The cost of a pair is ``class_weight * class cost + l1_weight * L1 distance of cxcywh boxes - giou_weight * GIoU``,
    of the predictions, not the references; boxes are relative to the image, also those that come in pixels.

    Source: arXiv:2005.12872, sec. 3.1 (softmax cost) and arXiv:2010.04159, sec. A.4 (focal cost).

    Args:
        class_weight: Weight of the classification cost, at least 0.
        l1_weight: Weight of the L1 cost, at least 0.
        giou_weight: Weight of the GIoU cost, at least 0.
        alpha: Balance of the focal cost, 0..1.
        focusing: Focusing exponent of the focal cost, at least 0.
        scores: How outputs become scores, which decides the classification cost. ``sigmoid``: focal loss of the
            positive label less that of the negative one. ``softmax``: minus the probability of the class, beside all
            others and the last output, "no object".
        eps: Added to the areas by which GIoU divides, at least 0; 1e-6 in DAB-DETR and what is made of it.

    Raises:
        ValueError: An argument lies outside its range, or all weights are 0.
    """

    is_one_to_one = True

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        alpha: float = 0.25,
        focusing: float = 2.0,
        scores: str = "sigmoid",
        eps: float = 0.0,
    ) -> None:
        self.class_weight = require_number("class_weight", class_weight, low=0)
        self.l1_weight = require_number("l1_weight", l1_weight, low=0)
        self.giou_weight = require_number("giou_weight", giou_weight, low=0)
        self.alpha = require_number("alpha", alpha, low=0, high=1)
        self.focusing = require_number("focusing", focusing, low=0)
        self.scores = require_choice("scores", scores, ("sigmoid", "softmax"))
        self.eps = require_number("eps", eps, low=0)
        if self.class_weight == self.l1_weight == self.giou_weight == 0:
            raise ValueError("class_weight, l1_weight and giou_weight are all 0: nothing decides the assignment")

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Problem:
        """The problem whose solution is the assignment; nothing is drawn."""
        del draw
        can_match = prediction.can_match()

        def finish(target: Tensor) -> Matches:
            return Matches(torch.where(can_match, target, BACKGROUND))

        return Problem(self.cost(prediction, targets), targets.is_object, finish)

    @torch.no_grad()
    def cost(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Cost of every pair, ``[B, N, T]`` float32; infinite for candidates that cannot match, anything in padding."""
        if prediction.frame is None:  # in pixels, whose L1 distance would outweigh all else
            frame = targets.frame()
            prediction = prediction.relative(frame)
            targets = replace(targets, boxes=targets.boxes / frame[:, None])
        class_cost = self._class_cost(prediction.logits.float(), targets.labels)
        # In half precision costs tie that differ, and the solver would choose by order.
        boxes, objects = prediction.boxes.float(), targets.boxes.float()
        if boxes.dim() == 3:
            l1_cost = torch.cdist(boxes, objects, p=1)
            giou = pairwise_giou(to_corners(boxes), to_corners(objects), self.eps)
        else:  # each object is compared with the boxes for its class
            index = targets.labels[:, None, :, None].expand(*boxes.shape[:2], -1, 4)  # [B, N, T, 4]
            boxes, objects = boxes.gather(2, index), objects[:, None]  # [B, N, T, 4], [B, 1, T, 4]
            l1_cost = (boxes - objects).abs().sum(-1)
            giou = box_giou(to_corners(boxes), to_corners(objects), self.eps)
        cost = self.class_weight * class_cost + self.l1_weight * l1_cost - self.giou_weight * giou
        return torch.where(prediction.can_match()[:, :, None], cost, torch.inf)  # [B, N, T]

    def _class_cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """``[B, N, T]`` of ``[B, N, C]`` and ``[B, T]``."""
        index = labels[:, None, :].expand(*logits.shape[:2], -1)  # [B, N, T]
        if self.scores == "softmax":
            return -logits.softmax(-1).gather(2, index)
        return _focal_cost(logits.gather(2, index), self.alpha, self.focusing)


def _focal_cost(logits: Tensor, alpha: float, focusing: float) -> Tensor:
    """Focal loss of the positive label less that of the negative one; 1e-8 as in the release."""
    probability = logits.sigmoid()
    positive = alpha * (1 - probability) ** focusing * -(probability + 1e-8).log()
    negative = (1 - alpha) * probability**focusing * -(1 - probability + 1e-8).log()
    return positive - negative
