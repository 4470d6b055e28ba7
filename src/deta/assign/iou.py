"""The paper's rule: one-to-many assignment by IoU alone."""

import torch
from torch import Tensor

from deta.assign.base import background, prior_iou
from deta.assign.sampling import keep_random
from deta.ops.random import Draw
from deta.structures import IGNORED, Matches, Prediction, Targets
from deta.utils.checks import require_bool, require_int, require_number


class IoUAssigner:
    """Every box answers for the object it overlaps most, if it overlaps it enough.

    With ``Q[k, i]`` the IoU of object k and reference box i, and ``k(i) = argmax_k Q[k, i]``, box i is
    positive for k(i) where ``Q[k(i), i] >= max(tau, n-th highest Q[k(i), .])``, or where it is the closest
    box of k(i) and overlaps it at all; a random ``gamma * N`` of an image's positives stay positive.

    Boxes that tie for the closest are all positive: exact ties are common among small objects on a regular
    grid of anchors and depend on rounding there.

    Source: arXiv:2212.06137, sec. 3, eq. 2-3 and sec. 5. Differs: the closest-box rule asks for IoU > 0, so
    that an object without any overlap stays unmatched (and is counted) instead of claiming every box.

    Args:
        tau: IoU that a box needs to be positive, 0..1.
        max_per_target: The paper's n: only boxes with at least an object's n-th highest IoU pass; None is no
            limit.
        gamma: Largest share of all boxes of an image that may be positive, 0..1; None is no limit.
        closest_box: Whether the closest box of an object is positive below the threshold too.
        ignore_above: Background boxes with an IoU from here up to the threshold take no part in the
            classification loss, 0..1; None is no such band, as in the paper.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        tau: float = 0.6,
        max_per_target: int | None = 4,
        gamma: float | None = 0.25,
        closest_box: bool = True,
        ignore_above: float | None = None,
    ) -> None:
        self.tau = require_number("tau", tau, low=0, high=1)
        self.max_per_target = None if max_per_target is None else require_int("max_per_target", max_per_target, low=1)
        self.gamma = None if gamma is None else require_number("gamma", gamma, low=0, high=1)
        self.closest_box = require_bool("closest_box", closest_box)
        self.ignore_above = (
            None if ignore_above is None else require_number("ignore_above", ignore_above, low=0, high=1)
        )

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """Positives by eq. 2-3; ``gamma`` of them are drawn at random where there are more."""
        if 0 in (targets.is_object.shape[1], prediction.num_candidates):
            return Matches(background(prediction))
        iou = prior_iou(prediction, targets)  # [B, T, N]
        best, owner = iou.max(dim=1)  # [B, N]: overlap with k(i), and k(i)
        passes = iou >= self._thresholds(iou)[:, :, None]  # [B, T, N]
        is_over = passes.gather(1, owner[:, None])[:, 0]  # [B, N]
        is_positive = is_over
        if self.closest_box:
            # Exact, since both sides are entries of one table.
            is_closest = best >= iou.amax(dim=2).gather(1, owner)
            is_positive = is_over | (is_closest & (best > 0))
        is_kept = is_positive
        if self.gamma is not None:
            is_kept = keep_random(is_positive, int(self.gamma * best.shape[1]), draw)
        target = torch.where(is_kept, owner, background(prediction))
        if self.ignore_above is not None:
            target = torch.where(~is_positive & (best >= self.ignore_above), IGNORED, target)
        notes = {
            "rescued": is_kept & ~is_over,
            "contested": (passes.sum(1) > 1) & is_kept,
            "cut": (is_positive & ~is_kept).any(1),
        }
        return Matches(target, notes=notes)

    def _thresholds(self, iou: Tensor) -> Tensor:
        """``[B, T]``: the larger of tau and the object's n-th highest IoU, never 0 (a box must overlap)."""
        floor = max(self.tau, torch.finfo(iou.dtype).tiny)
        if self.max_per_target is None or self.max_per_target > iou.shape[2]:
            return torch.full_like(iou[:, :, 0], floor)
        # The value alone: which of equal boxes topk lists depends on the device, what it is worth does not.
        return iou.topk(self.max_per_target, dim=2).values[:, :, -1].clamp(min=floor)
