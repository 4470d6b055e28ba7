"""Two thresholds of IoU with a band between them, and a best candidate for every object."""

import torch

from deta.assign.base import background
from deta.assign.claims import Claims
from deta.assign.scene import in_pixels, is_empty, parts
from deta.ops.boxes import to_corners
from deta.ops.iou import pairwise_iou
from deta.ops.random import Draw
from deta.structures import BACKGROUND, IGNORED, Matches, Prediction, Targets
from deta.utils.checks import require_choice, require_number


class MaxIoUAssigner:
    """Every candidate answers for the object that its prior overlaps most, from an IoU on; below it, it may be ignored.

    The low-quality rule makes all candidates positive that have an object's highest IoU, exact ties included. They
    answer for the object that they overlap most (``own_column``, torchvision), so that an object may go without; or for
    the last object whose best they are (``last_object``, mmdet). An object without any overlap has IoU 0 as its
    highest, with nearly all candidates: ``low_quality_from`` above 0 leaves it without, as no publication does.

    Source: arXiv:1506.01497 (Faster R-CNN), sec. 3.1.2, and arXiv:1708.02002 (RetinaNet), sec. 4; torchvision 0.29
    ``Matcher`` and mmdet 3.3 ``MaxIoUAssigner``.

    Args:
        positive_from: IoU from which on a candidate is positive, 0..1.
        background_below: IoU below which it is background; between the two it is ignored. At most ``positive_from``.
        low_quality: ``own_column``, ``last_object``, or ``none``.
        low_quality_from: Least highest IoU of an object for that rule, 0..1.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        positive_from: float = 0.5,
        background_below: float = 0.4,
        low_quality: str = "own_column",
        low_quality_from: float = 0.0,
    ) -> None:
        self.positive_from = require_number("positive_from", positive_from, low=0, high=1)
        self.background_below = require_number("background_below", background_below, low=0, high=positive_from)
        self.low_quality = require_choice("low_quality", low_quality, ("own_column", "last_object", "none"))
        self.low_quality_from = require_number("low_quality_from", low_quality_from, low=0, high=1)

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """Matches by thresholds; ``rescued`` are positive by the low-quality rule alone."""
        del draw
        if is_empty(prediction, targets):
            return Matches(background(prediction))
        prediction, targets = in_pixels(prediction, targets)
        priors, can_match = to_corners(prediction.priors), prediction.can_match()
        claims, num_over = Claims(prediction), torch.zeros_like(background(prediction))
        best_of = background(prediction)  # the last object whose best a candidate is
        for part in parts(prediction, targets):
            is_pair = part.is_pair(can_match)  # [B, t, N]
            iou = pairwise_iou(part.corners, priors).masked_fill(~is_pair, -torch.inf)
            claims.add(iou, part.start)
            num_over = num_over + (iou >= self.positive_from).sum(1)
            if self.low_quality != "none":
                # Exact, since both sides are entries of one table.
                highest = iou.amax(dim=2, keepdim=True)
                is_best = is_pair & (iou == highest) & (highest >= self.low_quality_from)
                index = part.start + torch.arange(iou.shape[1], device=iou.device)[:, None]  # [t, 1]
                best_of = best_of.maximum(torch.where(is_best, index, BACKGROUND).amax(1))
        is_over, is_best = num_over > 0, best_of >= 0
        target = torch.where(claims.highest >= self.background_below, IGNORED, BACKGROUND)
        target = torch.where(is_over, claims.owner, target)
        target = torch.where(is_best, best_of if self.low_quality == "last_object" else claims.owner, target)
        return Matches(target, notes={"rescued": is_best & ~is_over, "contested": num_over > 1})
