"""The rule of the released implementation, kept to reproduce its results."""

import torch
from torch import Tensor

from deta.assign.base import background, prior_iou
from deta.assign.sampling import keep_random
from deta.ops.random import Draw
from deta.structures import BACKGROUND, ExtraPairs, Matches, Prediction, Targets
from deta.utils.checks import require_bool, require_int, require_number

BETWEEN = -1
"""Matcher label of a box whose IoU lies between the two thresholds."""


class ReleaseAssigner:
    """RPN-style matching, sampling, then the highest boxes of every object.

    Every box takes the object it overlaps most; from ``tau`` on it is positive, and for every object all
    boxes that tie for its best IoU are positive too, with the object they overlap most. After sampling, an
    object that holds c positives gets the ``min(c, n)`` boxes of highest IoU *among all boxes*: a box may
    then serve two objects, which ``Matches.extra`` expresses (the class target is the higher object index).

    Source: github.com/jozhang97/DETA at f47e50e, ``models/assigner.py``. The lower threshold of its first
    stage is left out: boxes between the thresholds are background in its loss.
    Differs: it works with fewer boxes than n, and candidates that are not valid take no part.

    Args:
        tau: IoU from which on a box is positive, 0..1.
        max_per_target: The n above; None keeps every sampled positive with the object it overlaps most.
        num_samples: Boxes sampled per image; None takes all, as the second stage does.
        positive_fraction: Largest share of the sample that may be positive, 0..1; None is no limit.
        low_quality: Whether boxes that tie for the best IoU of an object are positive below ``tau``.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        tau: float = 0.6,
        max_per_target: int | None = 4,
        num_samples: int | None = None,
        positive_fraction: float | None = 0.25,
        low_quality: bool = True,
    ) -> None:
        self.tau = require_number("tau", tau, low=0, high=1)
        self.max_per_target = None if max_per_target is None else require_int("max_per_target", max_per_target, low=1)
        self.num_samples = None if num_samples is None else require_int("num_samples", num_samples, low=1)
        self.positive_fraction = (
            None if positive_fraction is None else require_number("positive_fraction", positive_fraction, low=0, high=1)
        )
        self.low_quality = require_bool("low_quality", low_quality)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """Match by threshold, sample, and give every object its highest boxes; an image may have none."""
        if 0 in (targets.is_object.shape[1], prediction.num_candidates):
            return Matches(background(prediction))
        iou = prior_iou(prediction, targets)  # [B, T, N]
        owner, label = match_by_threshold(
            iou, targets.is_object, low=self.tau, high=self.tau, low_quality=self.low_quality
        )
        is_positive = (label == 1) & prediction.can_match()
        is_sampled = is_positive
        if self.positive_fraction is not None:
            limit = int((self.num_samples or iou.shape[2]) * self.positive_fraction)
            is_sampled = keep_random(is_positive, limit, draw)
        cut = (is_positive & ~is_sampled).any(1)
        if self.max_per_target is None:
            return Matches(torch.where(is_sampled, owner, background(prediction)), notes={"cut": cut})
        pairs = highest_per_object(iou, owner, is_sampled, self.max_per_target)
        target, extra = _split_pairs(pairs, background(prediction))
        contested = torch.zeros_like(target).scatter_add(1, extra.query, extra.is_pair.long()) > 0
        return Matches(target, extra=extra, notes={"contested": contested, "cut": cut})


def match_by_threshold(
    iou: Tensor, is_object: Tensor, *, low: float, high: float, low_quality: bool
) -> tuple[Tensor, Tensor]:
    """Match every box to the object it overlaps most and label the match.

    Args:
        iou: ``[B, T, Q]``; -1 in rows of padding.
        is_object: ``[B, T]`` bool.
        low: Below this IoU the label is 0.
        high: From this IoU on the label is 1; between the two it is ``BETWEEN``.
        low_quality: Whether all boxes that tie for the best IoU of an object get label 1, whichever object
            they overlap most.

    Returns:
        ``[B, Q]`` object index (0 where there is no object) and ``[B, Q]`` label.
    """
    if iou.shape[1] == 0:
        empty = torch.zeros(iou.shape[0], iou.shape[2], dtype=torch.int64, device=iou.device)
        return empty, empty
    best, owner = iou.max(dim=1)
    label = (best >= low).long() + (best >= high).long()
    label = torch.where(label == 1, BETWEEN, label.clamp(max=1))
    if low_quality and iou.shape[2] > 0:
        # Exact, since both sides are entries of one table; rows of padding would tie with themselves.
        is_tie = (iou == iou.amax(dim=2, keepdim=True)) & is_object[:, :, None]  # [B, T, Q]
        label = torch.where(is_tie.any(1), 1, label)
    return owner, label


def highest_per_object(iou: Tensor, owner: Tensor, is_positive: Tensor, max_per_target: int) -> ExtraPairs:
    """For an object with c positives, the ``min(c, n)`` boxes of highest IoU among all boxes.

    Args:
        iou: ``[B, T, Q]``.
        owner: ``[B, Q]`` object of every box.
        is_positive: ``[B, Q]`` bool.
        max_per_target: The n above.

    Returns:
        All pairs, ``E = T * min(n, Q)``, in order of the objects.
    """
    num_images, num_objects, num_boxes = iou.shape
    count = torch.zeros(num_images, num_objects, dtype=torch.int64, device=iou.device)
    count = count.scatter_add(1, owner, is_positive.long())
    # Which of equal overlaps comes first depends on the device.
    highest = iou.topk(min(max_per_target, num_boxes), dim=2).indices  # [B, T, n]
    rank = torch.arange(highest.shape[2], device=iou.device)
    target = torch.arange(num_objects, device=iou.device)[:, None].expand_as(highest)  # [B, T, n]
    is_pair = rank < count[:, :, None]  # [B, T, n]
    return ExtraPairs(
        query=(highest * is_pair).flatten(1), target=(target * is_pair).flatten(1), is_pair=is_pair.flatten(1)
    )


def _split_pairs(pairs: ExtraPairs, target: Tensor) -> tuple[Tensor, ExtraPairs]:
    """Move the pair of highest object index of every box into ``target``; the others stay extra."""
    claim = torch.where(pairs.is_pair, pairs.target, BACKGROUND)
    # What is no pair claims ``BACKGROUND`` for box 0, below every object.
    target = target.scatter_reduce(1, pairs.query, claim, reduce="amax")
    is_extra = pairs.is_pair & (target.gather(1, pairs.query) != pairs.target)
    return target, ExtraPairs(pairs.query * is_extra, pairs.target * is_extra, is_extra)
