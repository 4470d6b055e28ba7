"""From the last layer's predictions to final detections."""

from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.ops.nms import grouped_nms
from deta.ops.rows import take_rows
from deta.structures import Detections, Prediction
from deta.utils.checks import require_int, require_number


class Postprocess(Protocol):
    """Turns the last decoder layer into final boxes."""

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Select detections; ``original_sizes`` is ``[B, 2]`` ``(height, width)`` in pixels."""
        ...


class TopK:
    """The best (query, class) pairs; the same box may serve several classes. Source: arXiv:2010.04159.

    Args:
        max_detections: Detections of an image; 100 for COCO, 300 for LVIS.
    """

    def __init__(self, *, max_detections: int = 100) -> None:
        self.max_detections = require_int("max_detections", max_detections, low=1)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections.

        Args:
            prediction: Logits and boxes of a layer.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels of the image file.

        Returns:
            ``min(max_detections, Q * C)`` detections of every image, best first.
        """
        pairs = _best_pairs(prediction, original_sizes, self.max_detections)
        return Detections(pairs.boxes, pairs.scores, pairs.labels, torch.ones_like(pairs.labels, dtype=torch.bool))


class NMS:
    """The best (query, class) pairs after suppression inside each class.

    Source: arXiv:2212.06137, release.

    Args:
        iou_threshold: IoU above which the worse detection of a class goes, 0..1.
        pre_topk: Pairs that enter suppression, at most.
        max_detections: Detections of an image; 100 for COCO, 300 for LVIS.
    """

    def __init__(self, *, iou_threshold: float = 0.7, pre_topk: int = 10_000, max_detections: int = 100) -> None:
        self.iou_threshold = require_number("iou_threshold", iou_threshold, low=0, high=1)
        self.pre_topk = require_int("pre_topk", pre_topk, low=1)
        self.max_detections = require_int("max_detections", max_detections, low=1)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections.

        Args:
            prediction: Logits and boxes of a layer.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels of the image file.

        Returns:
            ``min(max_detections, pre_topk, Q * C)`` places for every image, best first; fewer may be used.
        """
        pairs = _best_pairs(prediction, original_sizes, self.pre_topk)
        keep = grouped_nms(pairs.boxes, pairs.scores, pairs.labels, self.iou_threshold)
        # A stable sort moves what is kept to the front and leaves it best first.
        first_kept = (~keep).byte().argsort(dim=1, stable=True)[:, : self.max_detections]
        is_detection = keep.gather(1, first_kept)
        boxes = take_rows(pairs.boxes, first_kept)
        return Detections(
            boxes=boxes * is_detection[..., None],
            scores=pairs.scores.gather(1, first_kept) * is_detection,
            labels=pairs.labels.gather(1, first_kept) * is_detection,
            is_detection=is_detection,
        )


def _best_pairs(prediction: Prediction, original_sizes: Tensor, count: int) -> Detections:
    """The ``count`` best (query, class) pairs as detections, all of them real."""
    num_classes = prediction.logits.shape[-1]
    scores, pairs = _top(prediction.logits.detach().float().sigmoid().flatten(1), count)  # [B, K]
    query = pairs // num_classes
    height, width = original_sizes.to(scores).unbind(1)
    scale = torch.stack((width, height, width, height), dim=1)[:, None]  # [B, 1, 4]
    boxes = box_convert(prediction.boxes.detach().float(), "cxcywh", "xyxy") * scale
    boxes = take_rows(boxes, query)
    return Detections(boxes, scores, pairs % num_classes, torch.ones_like(pairs, dtype=torch.bool))


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    # Which of equal scores comes first depends on the device.
    best = scores.topk(min(count, scores.shape[1]), dim=1)
    return best.values, best.indices
