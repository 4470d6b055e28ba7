"""Losses of how good boxes are: quality as an output of its own, as the target of classes, and as a weight of boxes."""

import torch
from torch import Tensor
from torch.nn import functional

from deta.losses.federated import counted_scores
from deta.losses.terms.base import Sum
from deta.ops.boxes import to_corners
from deta.ops.iou import box_giou, box_iou
from deta.ops.rows import take_rows
from deta.structures import IGNORED, Matches, Prediction, Score, SigmoidScore, Targets
from deta.utils.checks import require_choice, require_int, require_number


def centerness(priors: Tensor, objects: Tensor) -> Tensor:
    """How near the centres of priors lie to those of objects.

    Source: arXiv:1904.01355, eq. 3.

    Args:
        priors: ``[..., 4]`` ``cxcywh``.
        objects: ``[..., 4]`` ``cxcywh`` in the same unit.

    Returns:
        ``[...]`` in 0..1; 0 for a prior whose centre lies outside.
    """
    halves, offsets = objects[..., 2:] / 2, (priors[..., :2] - objects[..., :2]).abs()
    near, far = (halves - offsets).clamp(min=0), halves + offsets
    return (near / far.clamp(min=torch.finfo(far.dtype).tiny)).prod(-1).sqrt()


class CenternessLoss:
    """Cross-entropy of the quality of positives with their centerness. Source: arXiv:1904.01355, sec. 3.2.

    Args:
        weight: Of this term, at least 0.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        self.weight = require_number("weight", weight, low=0)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over positives.

        Raises:
            ValueError: The prediction has no quality.
        """
        if prediction.quality is None:
            raise ValueError("CenternessLoss needs a head with quality: set model.body.head.quality=true")
        goal = centerness(prediction.priors.float(), take_rows(targets.boxes, matches.target))
        loss = functional.binary_cross_entropy_with_logits(prediction.quality.float(), goal, reduction="none")
        return Sum(torch.where(matches.is_positive(), loss, 0.0).sum(1))


class ObjectnessLoss:
    """Cross-entropy of the quality of every candidate with whether it answers for an object.

    Source: arXiv:1804.02767, sec. 2.1; arXiv:2107.08430 (YOLOX).

    Args:
        weight: Of this term, at least 0.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        self.weight = require_number("weight", weight, low=0)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over candidates.

        Raises:
            ValueError: The prediction has no quality.
        """
        del targets
        if prediction.quality is None:
            raise ValueError("ObjectnessLoss needs a head with quality, such as deta.models.DecoupledHead")
        goal = matches.is_positive().float()
        loss = functional.binary_cross_entropy_with_logits(prediction.quality.float(), goal, reduction="none")
        return Sum((loss * (matches.target != IGNORED)).sum(1))


class MatchedClassLoss:
    """Cross-entropy of the classes of positives alone, whose target is the IoU of their box.

    Where the targets say which classes were looked for in an image, only those count, see ``penalised_classes``, and
    that of the positive.

    Source: arXiv:2107.08430 (YOLOX), release.

    Args:
        weight: Of this term, at least 0.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        self.weight = require_number("weight", weight, low=0)

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over positives and classes."""
        is_own = own_class(matches, targets, prediction.logits.shape[2])
        goal = quality_target(prediction, matches, targets, is_own)
        loss = functional.binary_cross_entropy_with_logits(prediction.logits.float(), goal, reduction="none")
        is_used = counted_scores(matches, targets, is_own) & matches.is_positive()[..., None]
        return Sum(torch.where(is_used, loss, 0.0).sum(-1).sum(1))


class WeightedGIoULoss:
    """One minus the generalised IoU of every positive, weighted, and divided by the sum of the weights.

    Source: arXiv:1912.02424 (ATSS), release: by the centerness of the prior; arXiv:2006.04388 (GFL), release: by the
    highest score of the candidate.

    Args:
        weight: Of this term, at least 0.
        by: ``centerness``, ``score`` or ``quality``, that of the assignment (arXiv:2108.07755); none has a gradient.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, weight: float = 2.0, by: str = "centerness") -> None:
        self.weight = require_number("weight", weight, low=0)
        self.by = require_choice("by", by, ("centerness", "score", "quality"))

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` weighted sums over positives, and the sums of their weights."""
        objects = take_rows(targets.boxes, matches.target)
        labels = take_rows(targets.labels, matches.target)
        weights = pair_weights(prediction, matches, objects, self.by)
        boxes = to_corners(prediction.boxes_of(labels).float())
        loss = 1 - box_giou(boxes, to_corners(objects))
        return Sum(torch.where(matches.is_positive(), loss * weights, 0.0).sum(1), weights.sum(1))


def pair_weights(prediction: Prediction, matches: Matches, objects: Tensor, by: str) -> Tensor:
    """``[B, N]`` weights of positives, 0 elsewhere, without gradient; see ``WeightedGIoULoss``."""
    if by == "quality":
        weights = torch.ones_like(matches.target, dtype=torch.float32) if matches.quality is None else matches.quality
    elif by == "score":
        weights = prediction.logits.detach().float().sigmoid().amax(-1)
    else:
        weights = centerness(prediction.priors.float(), objects)
    return torch.where(matches.is_positive(), weights, 0.0)


class QualityFocalLoss:
    """Focal loss whose target of the class of a positive is the IoU of its box. Source: arXiv:2006.04388, eq. 4.

    Where the targets say which classes were looked for in an image, only those count, see ``penalised_classes``, and
    that of a positive.

    Args:
        weight: Of this term, at least 0.
        focusing: Exponent of the distance from the target, at least 1.
        score: What is compared with the target; None is the sigmoid of every output.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, weight: float = 1.0, focusing: float = 2.0, score: Score | None = None) -> None:
        self.weight = require_number("weight", weight, low=0)
        self.focusing = require_number("focusing", focusing, low=1)
        self.score = SigmoidScore() if score is None else score

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` sums over candidates and classes; the quality of the assignment goes before the IoU."""
        logits = self.score(prediction)
        is_own = own_class(matches, targets, logits.shape[2])
        goal = quality_target(prediction, matches, targets, is_own)
        distance = (goal - logits.sigmoid()).abs() ** self.focusing
        loss = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none") * distance
        return Sum((loss * counted_scores(matches, targets, is_own)).sum((1, 2)))


def own_class(matches: Matches, targets: Targets, num_classes: int) -> Tensor:
    """``[B, N, C]`` bool: the class of every positive."""
    labels = take_rows(targets.labels, matches.target)
    is_class = labels[..., None] == torch.arange(num_classes, device=labels.device)
    return is_class & matches.is_positive()[..., None]


def quality_target(prediction: Prediction, matches: Matches, targets: Targets, is_own: Tensor) -> Tensor:
    """``[B, N, C]``: the quality of a positive, or without one the IoU of its detached box, at its class; else 0."""
    quality = matches.quality
    if quality is None:
        labels, objects = (take_rows(part, matches.target) for part in (targets.labels, targets.boxes))
        boxes = to_corners(prediction.boxes_of(labels).detach().float())
        quality = box_iou(boxes, to_corners(objects))
    return torch.where(is_own, quality[..., None], 0.0)


class DistributionFocalLoss:
    """Cross-entropy of the two whole numbers beside the distance of every side. Source: arXiv:2006.04388, eq. 6.

    Args:
        weight: Of this term, at least 0.
        bins: Of every distribution, as in ``DistributionCodec``.
        by: See ``WeightedGIoULoss``.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(self, *, weight: float = 0.25, bins: int = 17, by: str = "score") -> None:
        self.weight = require_number("weight", weight, low=0)
        self.bins = require_int("bins", bins, low=2)
        self.by = require_choice("by", by, ("centerness", "score"))

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        """``[B]`` weighted sums over positives of the mean of four sides, and the sums of the weights.

        Raises:
            ValueError: The prediction has no distributions of that many bins, or no strides.
        """
        code, strides = prediction.code, prediction.strides
        if code is None or strides is None or code.shape[2] != 4 * self.bins:
            raise ValueError(f"DistributionFocalLoss needs strides and codes of 4 times {self.bins} bins: system=gfl")
        objects = take_rows(targets.boxes, matches.target)
        offsets, halves = prediction.priors[..., :2] - objects[..., :2], objects[..., 2:] / 2
        distances = torch.cat((halves + offsets, halves - offsets), dim=-1) / strides[..., None]  # [B, N, 4]
        # Below the last bin, whose neighbour above does not exist.
        distances = distances.clamp(0, self.bins - 1 - 0.1)
        below = distances.floor()
        share = distances - below
        logs = code.float().view(*code.shape[:2], 4, self.bins).log_softmax(-1)  # [B, N, 4, bins]
        near = logs.gather(-1, below.long()[..., None])[..., 0]
        far = logs.gather(-1, below.long()[..., None] + 1)[..., 0]
        loss = -((1 - share) * near + share * far).mean(-1)  # [B, N]
        weights = pair_weights(prediction, matches, objects, self.by)
        return Sum(torch.where(matches.is_positive(), loss * weights, 0.0).sum(1), weights.sum(1))
