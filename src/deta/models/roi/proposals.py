"""Which boxes of a first stage become regions of the second."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.models.query.selection import best_of_levels
from deta.ops.boxes import to_corners
from deta.ops.nms import grouped_nms
from deta.ops.rows import take_rows
from deta.structures import Prediction, TensorStruct
from deta.utils.checks import require_int, require_number


@dataclass(frozen=True)
class Regions(TensorStruct):
    """Boxes of which a second stage predicts.

    Attributes:
        boxes: ``[B, R, 4]`` ``cxcywh`` in pixels of the padded image; zero where there is none.
        exists: ``[B, R]`` bool, False for a place without a region.
        source: ``[B, R]`` int64 candidate of the first stage that a region was, -1 for none.
    """

    boxes: Tensor
    exists: Tensor
    source: Tensor

    def take(self, rows: Tensor, exists: Tensor) -> "Regions":
        """The regions ``rows``, ``[B, M]``, of which those exist that did and that ``exists``, ``[B, M]``, lets."""
        exists = exists & self.exists.gather(1, rows)
        boxes = torch.where(exists[..., None], take_rows(self.boxes, rows), 0.0)
        return Regions(boxes, exists, torch.where(exists, self.source.gather(1, rows), -1))


class ProposalSelection:
    """The best boxes of every level, after suppression inside each level.

    Source: arXiv:1506.01497 (Faster R-CNN), sec. 3.3; levels: arXiv:1612.03144 (FPN), sec. 4.1, as in torchvision.

    Args:
        num_proposals: Of an image, where it detects.
        training_num_proposals: Where it is trained.
        pre_topk: Boxes of a level that enter suppression, where it detects.
        training_pre_topk: Where it is trained.
        iou_threshold: IoU above which the worse box of a level goes, 0..1.
        least_side: Boxes with a shorter side inside the image go, in pixels, at least 0.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        num_proposals: int = 1000,
        training_num_proposals: int = 2000,
        pre_topk: int = 1000,
        training_pre_topk: int = 2000,
        iou_threshold: float = 0.7,
        least_side: float = 1e-3,
    ) -> None:
        place = "model.body.selection"
        self.num_proposals = require_int(f"{place}.num_proposals", num_proposals, low=1)
        self.training_num_proposals = require_int(f"{place}.training_num_proposals", training_num_proposals, low=1)
        self.pre_topk = require_int(f"{place}.pre_topk", pre_topk, low=1)
        self.training_pre_topk = require_int(f"{place}.training_pre_topk", training_pre_topk, low=1)
        self.iou_threshold = require_number(f"{place}.iou_threshold", iou_threshold, low=0, high=1)
        self.least_side = require_number(f"{place}.least_side", least_side, low=0)

    def __call__(self, first: Prediction, frame: Tensor, *, training: bool) -> Regions:
        """Choose.

        Args:
            first: The first stage on its grid, one logit for a candidate, boxes in pixels.
            frame: ``[B, 4]`` pixels of the unpadded images, ``(width, height, width, height)``.
            training: Whether this is a step of training.

        Returns:
            Boxes inside the image without gradient, best first; R is known from the sizes of levels.
        """
        assert first.grid is not None
        sizes = [height * width * per_cell for height, width, per_cell in first.grid]
        number, pre_topk = (
            (self.training_num_proposals, self.training_pre_topk) if training else (self.num_proposals, self.pre_topk)
        )
        logits = first.logits.detach()[..., 0]
        candidates, levels = best_of_levels(logits, sizes, pre_topk)  # [B, K]
        corners = to_corners(take_rows(first.boxes.detach(), candidates))
        corners = torch.minimum(corners.clamp(min=0), frame[:, None])
        is_box = ((corners[..., 2:] - corners[..., :2]) >= self.least_side).all(-1)
        survives = grouped_nms(corners, logits.gather(1, candidates), levels, self.iou_threshold, is_box)
        # A stable sort moves survivors to the front and leaves them best first.
        chosen = (~survives).byte().argsort(dim=1, stable=True)[:, :number]
        every = Regions(box_convert(corners, "xyxy", "cxcywh"), survives, candidates)
        return every.take(chosen, torch.ones_like(chosen, dtype=torch.bool))
