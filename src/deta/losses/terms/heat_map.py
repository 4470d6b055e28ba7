"""Losses of heat maps and of what a centre's cell says of its box."""

import torch
from torch import Tensor
from torch.nn import functional

from deta.losses.federated import counted_scores
from deta.losses.terms.base import Sum
from deta.ops.rows import take_rows
from deta.structures import Matches, Prediction, Targets
from deta.utils.checks import require_choice, require_number


class HeatMapLoss:
    """Focal loss of heat maps whose targets fall off around the cell of an object: near it, background costs less.

    Where the targets say which classes were looked for in an image, only those count, see ``penalised_classes``; a
    centre counts in any case.

    Source: arXiv:1904.07850 (CenterNet), eq. 1.

    Args:
        weight: Of this term, at least 0.
        focusing: Exponent of the distance from the target, at least 1.
        fall_off: Exponent of one less the target of background, at least 0.
    """

    def __init__(self, *, weight: float = 1.0, focusing: float = 2.0, fall_off: float = 4.0) -> None:
        self.weight = require_number("weight", weight, low=0)
        self.focusing = require_number("focusing", focusing, low=1)
        self.fall_off = require_number("fall_off", fall_off, low=0)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over cells and classes, and numbers of centres, see ``num_centres``.

        Raises:
            ValueError: The assignment has no targets of classes.
        """
        goal = matches.class_target
        if goal is None:
            raise ValueError("HeatMapLoss needs a rule that gives targets of every class, such as assigner=gaussian")
        logits = prediction.logits.float()
        score, is_centre = logits.sigmoid(), goal == 1
        centre = -functional.logsigmoid(logits) * (1 - score) ** self.focusing
        beside = -functional.logsigmoid(-logits) * score**self.focusing * (1 - goal) ** self.fall_off
        loss = torch.where(is_centre, centre, beside) * counted_scores(matches, targets, is_centre)  # [B, N, C]
        return Sum(loss.sum((1, 2)), num_centres(goal))


def num_centres(class_target: Tensor) -> Tensor:
    """``[B]`` float32 targets of cells and classes that are 1: objects of one class in one cell are one."""
    return (class_target == 1).sum((1, 2), dtype=torch.float32)


class CentreL1Loss:
    """Mean distance of the two numbers that a centre's cell says of offset or size, in cells.

    Source: arXiv:1904.07850 (CenterNet), eq. 2 and 3.

    Args:
        weight: Of this term, at least 0; 1 for offsets and 0.1 for sizes.
        of: ``offset`` of the centre from the corner of its cell, or ``size`` of the box.
    """

    def __init__(self, *, of: str, weight: float = 1.0) -> None:
        self.weight = require_number("weight", weight, low=0)
        self.of = require_choice("of", of, ("offset", "size"))

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over positives; where there are heat maps, divided as these, see ``num_centres`` (mmdet 3.3).

        Raises:
            ValueError: The prediction has no codes of centres, or no strides.
        """
        code, strides = prediction.code, prediction.strides
        if code is None or strides is None or code.shape[2] != 4:
            raise ValueError("CentreL1Loss needs codes of four numbers and strides, such as those of system=centernet")
        objects = take_rows(targets.boxes, matches.target)
        found, goal = (
            (code[..., :2], self._cells(objects[..., :2] - prediction.priors[..., :2], strides))
            if self.of == "offset"
            else (code[..., 2:], self._cells(objects[..., 2:], strides))
        )
        loss = (found.float() - goal).abs().mean(-1)  # [B, N]
        heat = matches.class_target
        return Sum(torch.where(matches.is_positive(), loss, 0.0).sum(1), None if heat is None else num_centres(heat))

    @staticmethod
    def _cells(pixels: Tensor, strides: Tensor) -> Tensor:
        return pixels / strides[..., None]
