"""Losses of the boxes, summed over all (candidate, object) pairs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from deta.losses.terms.base import Sum
from deta.ops.boxes import to_corners
from deta.ops.deltas import encode_deltas
from deta.ops.iou import box_giou, box_iou
from deta.ops.rows import take_rows
from deta.structures import Matches, Prediction, Targets, of_class
from deta.utils.checks import require_choice, require_number


class PairLoss(ABC):
    """Base class of a loss of every pair of a box and its object, computed in float32.

    Args:
        weight: Of this term, at least 0.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, *, weight: float) -> None:
        self.weight = require_number("weight", weight, low=0)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over the pairs, ``Matches.extra`` included; an image without pairs gives 0."""
        label = take_rows(targets.labels, matches.target)
        boxes = self.rows(prediction, label)
        objects = take_rows(targets.boxes, matches.target)
        # Not a product with the flag: what a row that is no pair holds may be infinite.
        value = self.of_pairs(boxes, objects).masked_fill(matches.target < 0, 0.0).sum(1)
        if matches.extra is not None:
            extra = matches.extra
            # A further object may be of another class, which has a box of its own.
            boxes = self.rows(prediction.take(extra.query), take_rows(targets.labels, extra.target))
            objects = take_rows(targets.boxes, extra.target)
            value = value + self.of_pairs(boxes, objects).masked_fill(~extra.is_pair, 0.0).sum(1)
        return Sum(value)

    def rows(self, prediction: Prediction, labels: Tensor) -> Tensor:
        """What is compared with the objects: ``[B, N, 4]`` boxes for the class ``[B, N]`` of every candidate."""
        return prediction.boxes_of(labels).float()

    @abstractmethod
    def of_pairs(self, boxes: Tensor, objects: Tensor) -> Tensor:
        """``[B, N]`` loss of ``[B, N, 4]`` predicted and true ``cxcywh`` boxes."""


class L1Loss(PairLoss):
    """Sum of the distances of centre, width and height. Source: arXiv:2005.12872, sec. 3.2."""

    def __init__(self, *, weight: float = 5.0) -> None:
        super().__init__(weight=weight)

    def of_pairs(self, boxes: Tensor, objects: Tensor) -> Tensor:
        """``[B, N]``, at least 0: in the unit of the boxes."""
        return (boxes - objects).abs().sum(-1)


class DeltaL1Loss(PairLoss):
    """Sum of the distances of deltas: of the box as it is coded relative to its prior. Source: arXiv:2210.02318.

    Args:
        weight: Of this term, at least 0.
        origin: Of the shift: the ``centre`` of the prior or its ``corner``, as in the codec.
        factors: On the four deltas, as in the codec; None is 1 for all.
        beta: Below this distance the loss is a square (arXiv:1504.08083, eq. 3), at least 0.

    Raises:
        ValueError: A prediction has no ``code``, or an argument lies outside its range.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        origin: str = "centre",
        factors: Sequence[float] | None = None,
        beta: float = 0.0,
    ) -> None:
        super().__init__(weight=weight)
        self.origin = require_choice("origin", origin, ("centre", "corner"))
        self.factors = tuple(require_number("factors", factor, low=1e-3) for factor in factors or (1.0,) * 4)
        if len(self.factors) != 4:
            raise ValueError(f"factors must be four numbers, as those of model.body.codec, got {list(self.factors)}")
        self.beta = require_number("beta", beta, low=0)

    def rows(self, prediction: Prediction, labels: Tensor) -> Tensor:
        """``[B, N, 8]`` deltas for the class ``[B, N]`` of every candidate, and the priors that they belong to."""
        code = prediction.code
        if code is not None and code.shape[2] != 4 and prediction.boxes.dim() == 4:
            code = of_class(code.unflatten(2, (-1, 4)), labels)  # [B, N, 4]
        if code is None or code.shape[2] != 4:
            raise ValueError("DeltaL1Loss needs a detector whose boxes are coded as four deltas, such as system=fqdet")
        priors = prediction.priors.float()
        if prediction.exists is not None:  # what does not exist has no sides, and a gradient of 0 times infinity is NaN
            priors = torch.where(prediction.exists[..., None], priors, 1.0)
        return torch.cat((code.float(), priors), dim=-1)

    def of_pairs(self, boxes: Tensor, objects: Tensor) -> Tensor:
        """``[B, N]``, at least 0: in sides of the priors, and of logarithms, times ``factors``."""
        deltas, priors = boxes.split(4, dim=-1)
        if self.origin == "corner":
            priors = torch.cat((priors[..., :2] - priors[..., 2:] / 2, priors[..., 2:]), dim=-1)
        goals = encode_deltas(priors, objects).unbind(-1)
        goal = torch.stack([number * factor for number, factor in zip(goals, self.factors, strict=True)], dim=-1)
        return functional.smooth_l1_loss(deltas, goal, reduction="none", beta=self.beta).sum(-1)


class IoULoss(PairLoss):
    """One minus a power of the IoU. Source: arXiv:1608.01471; the square is of arXiv:2107.08430 (YOLOX), release.

    Args:
        weight: Of this term, at least 0.
        power: Of the IoU, at least 1.
    """

    def __init__(self, *, weight: float = 1.0, power: float = 1.0) -> None:
        super().__init__(weight=weight)
        self.power = require_number("power", power, low=1)

    def of_pairs(self, boxes: Tensor, objects: Tensor) -> Tensor:
        """``[B, N]`` in 0..1."""
        iou = box_iou(to_corners(boxes), to_corners(objects))
        return 1 - iou**self.power


class GIoULoss(PairLoss):
    """One minus the generalised IoU. Source: arXiv:1902.09630; arXiv:2005.12872, sec. 3.2.

    Args:
        weight: Of this term, at least 0.
        eps: Added to the areas by which GIoU divides, at least 0; 1e-6 in DAB-DETR and what is made of it.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, weight: float = 2.0, eps: float = 0.0) -> None:
        super().__init__(weight=weight)
        self.eps = require_number("eps", eps, low=0)

    def of_pairs(self, boxes: Tensor, objects: Tensor) -> Tensor:
        """``[B, N]`` in 0..2; 0 where both are one box with an area."""
        return 1 - box_giou(to_corners(boxes), to_corners(objects), self.eps)
