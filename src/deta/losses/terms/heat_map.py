"""Losses of heat maps and of what a centre's cell says of its box."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from deta.assign.gaussian import cut_to_grid
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
        clamp: Scores count as at least this and at most one less this, without gradient beyond, as in the release
            (1e-4); 0 lets all be, as in mmdetection.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self, *, weight: float = 1.0, focusing: float = 2.0, fall_off: float = 4.0, clamp: float = 0.0
    ) -> None:
        self.weight = require_number("weight", weight, low=0)
        self.focusing = require_number("focusing", focusing, low=1)
        self.fall_off = require_number("fall_off", fall_off, low=0)
        self.clamp = require_number("clamp", clamp, low=0, high=0.49)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over cells and classes, and numbers of centres, see ``num_centres``.

        Raises:
            ValueError: The assignment has no targets of classes.
        """
        goal = matches.class_target
        if goal is None:
            raise ValueError("HeatMapLoss needs a rule that gives targets of every class, such as assigner=gaussian")
        logits = prediction.logits.float()
        if self.clamp:
            limit = math.log((1 - self.clamp) / self.clamp)
            logits = logits.clamp(-limit, limit)
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
        per: What it is divided by: ``centre``, as the heat maps (``num_centres``, mmdetection), or ``object``, of boxes
            that are cut to the grid, as ``GaussianAssigner(radius="original")`` cuts them (release).

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, of: str, weight: float = 1.0, per: str = "centre") -> None:
        self.weight = require_number("weight", weight, low=0)
        self.of = require_choice("of", of, ("offset", "size"))
        self.per = require_choice("per", per, ("centre", "object"))

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over all pairs of a cell and an object.

        Raises:
            ValueError: The prediction has no codes of centres, no strides, or, with ``per="object"``, no grid.
        """
        code, strides = prediction.code, prediction.strides
        if code is None or strides is None or code.shape[2] != 4:
            raise ValueError("CentreL1Loss needs codes of four numbers and strides, such as those of system=centernet")
        if self.per == "object" and prediction.grid is None:
            raise ValueError("CentreL1Loss(per='object') needs candidates on a grid, as those of system=centernet")
        strides = strides.expand(code.shape[:2])[..., None]  # [B, N, 1]
        rows = torch.cat((code.float(), prediction.priors, strides), dim=-1)  # [B, N, 9]
        loss = self._distance(rows, take_rows(targets.boxes, matches.target), prediction)  # [B, N]
        value = torch.where(matches.is_positive(), loss, 0.0).sum(1)
        if matches.extra is not None:
            extra = matches.extra
            further = take_rows(rows, extra.query), take_rows(targets.boxes, extra.target)
            value = value + torch.where(extra.is_pair, self._distance(*further, prediction), 0.0).sum(1)
        heat = matches.class_target
        if self.per == "object":
            return Sum(value, matches.num_pairs())
        return Sum(value, None if heat is None else num_centres(heat))

    def _distance(self, rows: Tensor, objects: Tensor, prediction: Prediction) -> Tensor:
        """``[B, N]`` of ``[B, N, 9]`` codes, priors and strides, and of ``[B, N, 4]`` objects in pixels."""
        offset, size, corner, _, stride = rows.split((2, 2, 2, 2, 1), dim=-1)
        objects = objects / stride
        if self.per == "object" and prediction.grid is not None:
            objects = cut_to_grid(objects, *prediction.grid[0][:2])
        goal = objects[..., 2:] if self.of == "size" else objects[..., :2] - corner / stride
        distance: Tensor = ((size if self.of == "size" else offset) - goal).abs().mean(-1)
        return distance
