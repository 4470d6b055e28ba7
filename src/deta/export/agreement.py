"""Whether a written file detects what the model detects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MOST_PIXELS, MOST_SCORE = 0.5, 1e-3
"""Largest differences of a corner and a score at which two detections are one."""
NUM_CANDIDATES = 100
"""Best pairs of an image that are compared where a file leaves the selection to its user."""
_APART = 1e6


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
        num_detections: Of the model, that were compared.
        num_different: Those of the model without one of the file, or of the file without one of the model.
        pixels: Largest difference of a corner between a detection and its like.
        score: Largest difference of their scores.
    """

    num_detections: int = 0
    num_different: int = 0
    pixels: float = 0.0
    score: float = 0.0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.num_detections + other.num_detections,
            self.num_different + other.num_different,
            max(self.pixels, other.pixels),
            max(self.score, other.score),
        )


def compare(model: Sequence[Tensor], file: Sequence[Tensor], min_score: float) -> Agreement:
    """Compare the outputs of a batch.

    Detections are compared as sets: those of nearly equal scores may stand in another order. One whose score is that
    of the limit, of the last place or of ``min_score``, is not asked for where the other side has just missed it.

    Args:
        model: Boxes, scores and labels of ``Selected``, or boxes and scores of ``Candidates``.
        file: Likewise.
        min_score: Detections from this score on are compared, 0..1.
    """
    total = Agreement()
    for expected, found in zip(_of_images(model), _of_images(file), strict=True):
        total += _compare_image(expected, found, min_score)
    return total


_Image = tuple[Tensor, Tensor, Tensor]


def _of_images(outputs: Sequence[Tensor]) -> list[_Image]:
    """``[K, 4]`` boxes, ``[K]`` scores and ``[K]`` labels of every image."""
    if len(outputs) == 2:
        outputs = _best_pairs(outputs[0], outputs[1])
    boxes, scores, labels = outputs
    return list(zip(boxes, scores, labels, strict=True))


def _best_pairs(boxes: Tensor, scores: Tensor) -> list[Tensor]:
    num_classes = scores.shape[2]
    best, pairs = scores.flatten(1).topk(min(NUM_CANDIDATES, scores[0].numel()), dim=1)  # [B, K]
    if boxes.dim() == 3:
        boxes = boxes[:, :, None].expand(-1, -1, num_classes, -1)  # [B, N, C, 4]
    chosen = boxes.flatten(1, 2).gather(1, pairs[..., None].expand(-1, -1, 4))  # [B, K, 4]
    return [chosen, best, pairs % num_classes]


def _compare_image(expected: _Image, found: _Image, min_score: float) -> Agreement:
    limits = [max(min_score, float(scores.min()) if (scores > 0).all() else 0.0) for _, scores, _ in (expected, found)]
    edge = max(limits) + MOST_SCORE
    sides = [
        tuple(part[image[1] >= max(min_score - MOST_SCORE, 1e-6)] for part in image) for image in (expected, found)
    ]
    (boxes, scores, labels), (other_boxes, other_scores, other_labels) = sides
    if not len(boxes) and not len(other_boxes):
        return Agreement()
    pixels = (boxes[:, None] - other_boxes).abs().amax(-1)  # [K, K']
    apart = (scores[:, None] - other_scores).abs()
    cost = pixels / MOST_PIXELS + apart / MOST_SCORE + _APART * (labels[:, None] != other_labels)
    rows, columns = (
        torch.from_numpy(index) for index in linear_sum_assignment(np.nan_to_num(cost.numpy(), nan=_APART))
    )
    is_like = (pixels[rows, columns] <= MOST_PIXELS) & (apart[rows, columns] <= MOST_SCORE)
    is_like &= labels[rows] == other_labels[columns]
    different = 0
    for own, like in ((scores, rows[is_like]), (other_scores, columns[is_like])):
        is_alone = torch.ones_like(own, dtype=torch.bool).index_fill(0, like, False)
        different = max(different, int((is_alone & (own > edge)).sum()))
    same = rows[is_like], columns[is_like]
    return Agreement(
        int((scores >= min_score).sum()),
        different,
        float(pixels[same].amax()) if is_like.any() else 0.0,
        float(apart[same].amax()) if is_like.any() else 0.0,
    )
