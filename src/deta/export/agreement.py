"""Whether a written file detects what the model detects."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MOST_PIXELS, MOST_SCORE = 0.5, 1e-3
"""Largest differences of a corner and a score at which two detections are one."""
NUM_CANDIDATES = 100
"""Best pairs of an image that are compared where a file leaves the selection to its user."""
_APART = 1e6
_LEAST_SCORE = 1e-6
"""Below this a place counts as one without a detection."""


@dataclass(frozen=True)
class Agreement:
    """What a comparison found.

    Attributes:
        num_detections: Of the model, that were compared.
        num_different: Without their like on the other side, in every image those of the side that has more of them.
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


@dataclass(frozen=True)
class _Image:
    """Detections of one image: ``[K, 4]`` boxes, ``[K]`` scores and ``[K]`` labels."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def limit(self, min_score: float) -> float:
        """The score at which a detection may have been left out: the last one where every place is taken."""
        is_full = len(self.scores) > 0 and bool((self.scores > 0).all())
        return max(min_score, float(self.scores.min()) if is_full else 0.0) + MOST_SCORE

    def from_score(self, least: float) -> "_Image":
        """The detections from this score on."""
        chosen = self.scores >= max(least, _LEAST_SCORE)
        return _Image(self.boxes[chosen], self.scores[chosen], self.labels[chosen])


def _of_images(outputs: Sequence[Tensor]) -> list[_Image]:
    boxes, scores, labels = _best_pairs(*outputs) if len(outputs) == 2 else outputs
    return [_Image(*image) for image in zip(boxes, scores, labels, strict=True)]


def _best_pairs(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    num_classes = scores.shape[2]
    best, pairs = scores.flatten(1).topk(min(NUM_CANDIDATES, scores[0].numel()), dim=1)  # [B, K]
    if boxes.dim() == 3:
        boxes = boxes[:, :, None].expand(-1, -1, num_classes, -1)  # [B, N, C, 4]
    chosen = boxes.flatten(1, 2).gather(1, pairs[..., None].expand(-1, -1, 4))  # [B, K, 4]
    return chosen, best, pairs % num_classes


def _compare_image(model: _Image, file: _Image, min_score: float) -> Agreement:
    limits = file.limit(min_score), model.limit(min_score)  # of one side what the other may have left out
    own, other = (image.from_score(min_score - MOST_SCORE) for image in (model, file))
    pixels = (own.boxes[:, None] - other.boxes).abs().amax(-1)  # [K, K']
    apart = (own.scores[:, None] - other.scores).abs()
    is_same = own.labels[:, None] == other.labels
    cost = (pixels / MOST_PIXELS + apart / MOST_SCORE + _APART * ~is_same).nan_to_num(_APART)
    rows, columns = map(torch.from_numpy, linear_sum_assignment(cost.numpy()))
    is_like = is_same & (pixels <= MOST_PIXELS) & (apart <= MOST_SCORE)  # [K, K']
    rows, columns = (index[is_like[rows, columns]] for index in (rows, columns))
    num_alone = [
        int((scores.index_fill(0, like, 0.0) > limit).sum())
        for scores, like, limit in zip((own.scores, other.scores), (rows, columns), limits, strict=True)
    ]
    largest = [float(values[rows, columns].max()) if len(rows) else 0.0 for values in (pixels, apart)]
    return Agreement(int((own.scores >= min_score).sum()), max(num_alone), *largest)
