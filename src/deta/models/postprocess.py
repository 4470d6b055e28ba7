"""From the last layer's predictions to final detections."""

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import replace
from typing import Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional

from deta.ops.boxes import to_corners
from deta.ops.nms import grouped_nms
from deta.ops.rows import take_rows
from deta.ops.sizes import smaller
from deta.structures import Detections, Prediction, Score, SigmoidScore
from deta.utils.checks import require_bool, require_callable, require_int, require_number


class Postprocess(Protocol):
    """Turns the last decoder layer into final boxes.

    A selection that looks at neighbours of a candidate may say so by an attribute ``needs_grid = True``: a training of
    candidates that lie on no grid is refused before it starts.
    """

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Select detections; ``original_sizes`` is ``[B, 2]`` ``(height, width)`` in pixels."""
        ...


class ScoredSelection(ABC):
    """Base class of selections by a score.

    Args:
        score: Of every candidate and class; None takes the sigmoid of every output.
    """

    def __init__(self, score: Score | None = None) -> None:
        if score is not None:
            require_callable("score", score)
        self._score = score

    @property
    def score(self) -> Score:
        """Of every candidate and class."""
        return SigmoidScore() if self._score is None else self._score

    def with_score(self, score: Score) -> Self:
        """The same selection by another score."""
        other = copy(self)
        other._score = score
        return other

    @abstractmethod
    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections of a prediction, as of every ``Postprocess``."""


def scored_as(selection: Postprocess, other: Postprocess) -> Postprocess:
    """``selection``, by the score of ``other`` where it has not been given one of its own.

    What the outputs of a network mean is known where it was trained, not where a further selection is named.
    """
    if isinstance(selection, ScoredSelection) and selection._score is None and isinstance(other, ScoredSelection):
        return selection.with_score(other.score)
    return selection


class TopK(ScoredSelection):
    """The best (query, class) pairs; the same box may serve several classes. Source: arXiv:2010.04159.

    Args:
        max_detections: Detections of an image; 100 for COCO, 300 for LVIS.
        score: See ``ScoredSelection``.
    """

    def __init__(self, *, max_detections: int = 100, score: Score | None = None) -> None:
        super().__init__(score)
        self.max_detections = require_int("max_detections", max_detections, low=1)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections.

        Args:
            prediction: Logits and boxes of a layer.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels of the image file.

        Returns:
            ``min(max_detections, Q * C)`` detections of every image, best first.
        """
        return _best_pairs(prediction, original_sizes, self.max_detections, self.score)


class NMS(ScoredSelection):
    """The best (query, class) pairs after suppression inside each class.

    Source: arXiv:2212.06137, release; with a threshold and sides, arXiv:1506.01497 (Faster R-CNN) as in torchvision.

    Args:
        iou_threshold: IoU above which the worse detection of a class goes, 0..1.
        pre_topk: Pairs that enter suppression, at most.
        max_detections: Detections of an image; 100 for COCO, 300 for LVIS.
        score: See ``ScoredSelection``.
        threshold: Score that a pair must pass, 0..1; None lets all pass.
        least_side: Boxes are limited to the image, and those with a shorter side left go, in pixels of the file; None
            leaves all as they are.
    """

    def __init__(
        self,
        *,
        iou_threshold: float = 0.7,
        pre_topk: int = 10_000,
        max_detections: int = 100,
        score: Score | None = None,
        threshold: float | None = None,
        least_side: float | None = None,
    ) -> None:
        super().__init__(score)
        self.threshold = None if threshold is None else require_number("threshold", threshold, low=0, high=1)
        self.least_side = None if least_side is None else require_number("least_side", least_side, low=0)
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
        pairs = _best_pairs(prediction, original_sizes, self.pre_topk, self.score)
        is_candidate = pairs.is_detection
        if self.threshold is not None:
            is_candidate = is_candidate & (pairs.scores > self.threshold)
        if self.least_side is not None:
            pairs = replace(pairs, boxes=_inside(pairs.boxes, original_sizes))
            sides = pairs.boxes[..., 2:] - pairs.boxes[..., :2]
            is_candidate = is_candidate & (sides >= self.least_side).all(-1)
        keep = grouped_nms(pairs.boxes, pairs.scores, pairs.labels, self.iou_threshold, is_candidate)
        return _kept(pairs, keep, self.max_detections)


class PerLevelNMS(ScoredSelection):
    """The best (candidate, class) pairs of every level above a score, after suppression inside each class.

    Source: arXiv:1708.02002, sec. 4.1.

    Args:
        threshold: Pairs must rank above this score, 0..1.
        pre_topk: Pairs of a level that enter suppression, at most.
        iou_threshold: IoU above which the worse detection of a class goes, 0..1.
        max_detections: Detections of an image; 100 for COCO, 300 for LVIS.
        score: See ``ScoredSelection``.
        rank: What decides on ``threshold`` and ``pre_topk``; None is ``score``.
        drops_empty: Whether boxes that have no side left inside the image are left out, as in mmdetection.
        clips: Whether boxes are limited to the image.
        best_class: Whether a candidate gives its best class alone, as in YOLOX.
    """

    needs_grid = True

    def __init__(
        self,
        *,
        threshold: float = 0.05,
        pre_topk: int = 1000,
        iou_threshold: float = 0.5,
        max_detections: int = 100,
        score: Score | None = None,
        rank: Score | None = None,
        drops_empty: bool = True,
        clips: bool = True,
        best_class: bool = False,
    ) -> None:
        super().__init__(score)
        self.threshold = require_number("threshold", threshold, low=0, high=1)
        self.pre_topk = require_int("pre_topk", pre_topk, low=1)
        self.iou_threshold = require_number("iou_threshold", iou_threshold, low=0, high=1)
        self.max_detections = require_int("max_detections", max_detections, low=1)
        self.rank = rank
        self.drops_empty = require_bool("drops_empty", drops_empty)
        self.clips = require_bool("clips", clips)
        self.best_class = require_bool("best_class", best_class)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections.

        Args:
            prediction: On a grid, or with levels; boxes are limited to the image.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels of the image file.

        Returns:
            ``max_detections`` places for every image at most, best first; fewer may be used.

        Raises:
            ValueError: The candidates have neither grid nor levels.
        """
        prediction = prediction.detach()
        table = self.score(prediction).sigmoid()  # [B, N, C]
        ranks = table if self.rank is None else self.rank(prediction).sigmoid()
        if self.best_class:
            is_best = functional.one_hot(ranks.argmax(-1), ranks.shape[2]).bool()
            ranks = ranks.masked_fill(~is_best, -1.0)
        num_classes = table.shape[2]
        best, pairs = self._best_of_levels(prediction, ranks)  # [B, K]
        is_candidate = best > self.threshold
        scores, order = table.flatten(1).gather(1, pairs).masked_fill(~is_candidate, 0.0).sort(1, descending=True)
        pairs, is_candidate = pairs.gather(1, order), is_candidate.gather(1, order)
        found = _detections(prediction, original_sizes, pairs // num_classes, scores, pairs % num_classes)
        boxes = _inside(found.boxes, original_sizes) if self.clips else found.boxes
        if self.drops_empty:
            is_candidate = is_candidate & (boxes[..., 2:] > boxes[..., :2]).all(-1)
        keep = grouped_nms(boxes, scores, found.labels, self.iou_threshold, is_candidate) & is_candidate
        return _kept(replace(found, boxes=boxes), keep, self.max_detections)

    def _best_of_levels(self, prediction: Prediction, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """Ranks and pairs, ``candidate * C + class``: the best ``pre_topk`` of every level by ``[B, N, C]`` ranks.

        Both are ``[B, K]``. Pairs of another level that fill up one have rank -1.
        """
        num_classes, start, chosen = ranks.shape[2], 0, []
        for height, width, per_cell in prediction.grid or ():
            size = height * width * per_cell
            best, pairs = _top(ranks[:, start : start + size].flatten(1), self.pre_topk)  # [B, K]
            chosen.append((best, pairs + start * num_classes))
            start += size
        if prediction.grid is None:
            if prediction.levels is None:
                raise ValueError(
                    "postprocess=per_level needs candidates with a level, as a dense head predicts them; queries have "
                    "none: use postprocess=nms or postprocess=topk"
                )
            levels = prediction.levels.expand(ranks.shape[:2])[..., None]  # [B, N, 1]
            for level in range(int(levels.max()) + 1):  # waits for a GPU: only what was stored has lost its grid
                chosen.append(_top(ranks.masked_fill(levels != level, -1.0).flatten(1), self.pre_topk))
        return torch.cat([best for best, _ in chosen], dim=1), torch.cat([pairs for _, pairs in chosen], dim=1)


class Peaks(ScoredSelection):
    """The best pairs of a cell and a class whose score is the highest around; nothing is suppressed.

    Source: arXiv:1904.07850 (CenterNet), sec. 4. A plateau of equal scores keeps all of its cells.

    Args:
        kernel: Side of the square of cells that are looked at, odd.
        max_detections: Detections of an image; 100 for COCO, 300 for LVIS.
        score: See ``ScoredSelection``.
    """

    needs_grid = True

    def __init__(self, *, kernel: int = 3, max_detections: int = 100, score: Score | None = None) -> None:
        super().__init__(score)
        self.kernel = require_int("kernel", kernel, low=1)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a cell lies in the middle, got {kernel}")
        self.max_detections = require_int("max_detections", max_detections, low=1)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections.

        Args:
            prediction: On one grid.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels of the image file.

        Returns:
            ``min(max_detections, N * C)`` detections of every image, best first; cells that are no peak score 0.

        Raises:
            ValueError: The candidates are not one grid with one of them in a cell.
        """
        grid = prediction.grid
        if grid is None or len(grid) != 1 or grid[0][2] != 1:
            raise ValueError(
                "postprocess=peaks needs candidates that are one grid, as system=centernet predicts them; raw "
                "predictions have none: use postprocess=topk"
            )
        prediction = prediction.detach()
        table = self.score(prediction).sigmoid()  # [B, N, C]
        height, width, _ = grid[0]
        maps = table.transpose(1, 2).unflatten(2, (height, width))  # [B, C, h, w]
        highest = functional.max_pool2d(maps, self.kernel, stride=1, padding=self.kernel // 2)
        peaks = torch.where(maps == highest, maps, 0.0).flatten(2).transpose(1, 2)  # [B, N, C]
        scores, pairs = _top(peaks.flatten(1), self.max_detections)  # [B, K]
        num_classes = table.shape[2]
        found = _detections(prediction, original_sizes, pairs // num_classes, scores, pairs % num_classes)
        return _kept(found, scores > 0, self.max_detections)


class OnePerQuery(ScoredSelection):
    """The best class of every query. Source: arXiv:2005.12872. Differs: best first, where the release keeps the order.

    Args:
        max_detections: Detections of an image at most; DETR keeps all of its 100 queries.
        score: See ``ScoredSelection``; DETR has that of a softmax.
    """

    def __init__(self, *, max_detections: int = 100, score: Score | None = None) -> None:
        super().__init__(score)
        self.max_detections = require_int("max_detections", max_detections, low=1)

    def __call__(self, prediction: Prediction, original_sizes: Tensor) -> Detections:
        """Final detections.

        Args:
            prediction: Logits and boxes of a layer.
            original_sizes: ``[B, 2]`` ``(height, width)`` in pixels of the image file.

        Returns:
            ``min(max_detections, Q)`` detections of every image, best first.
        """
        best, labels = _table(prediction, self.score).max(-1)  # [B, Q]
        scores, query = _top(best, self.max_detections)  # [B, K]
        found = _detections(prediction, original_sizes, query, scores, labels.gather(1, query))
        return found if prediction.exists is None else _existing(found)


def _kept(pairs: Detections, keep: Tensor, most: int) -> Detections:
    """The first ``most`` of those to keep, in their order."""
    # A stable sort moves what is kept to the front and leaves it best first.
    first_kept = (~keep).byte().argsort(dim=1, stable=True)[:, :most]
    is_detection = keep.gather(1, first_kept)
    boxes = take_rows(pairs.boxes, first_kept)
    return Detections(
        boxes=boxes * is_detection[..., None],
        scores=pairs.scores.gather(1, first_kept) * is_detection,
        labels=pairs.labels.gather(1, first_kept) * is_detection,
        is_detection=is_detection,
    )


def _best_pairs(prediction: Prediction, original_sizes: Tensor, count: int, score: Score) -> Detections:
    """The ``count`` best (query, class) pairs as detections; those of queries that do not exist are none."""
    table = _table(prediction, score)  # [B, Q, C]
    scores, pairs = _top(table.flatten(1), count)  # [B, K]
    num_classes = table.shape[2]
    found = _detections(prediction, original_sizes, pairs // num_classes, scores, pairs % num_classes)
    return found if prediction.exists is None else _existing(found)


def _table(prediction: Prediction, score: Score) -> Tensor:
    """``[B, Q, C]`` scores; -1, behind all others, of what does not exist."""
    table = score(prediction.detach()).sigmoid()
    return table if prediction.exists is None else table.masked_fill(~prediction.exists[..., None], -1.0)


def _existing(found: Detections) -> Detections:
    """The same without those whose score says that they do not exist."""
    return replace(found, scores=found.scores.clamp(min=0), is_detection=found.scores >= 0)


def _detections(
    prediction: Prediction, original_sizes: Tensor, query: Tensor, scores: Tensor, labels: Tensor
) -> Detections:
    """Boxes of ``[B, K]`` queries for their labels, in pixels, with their scores and labels."""
    height, width = original_sizes.to(scores).unbind(1)
    scale = torch.stack((width, height, width, height), dim=1)[:, None]  # [B, 1, 4]
    boxes = prediction.boxes.detach().float()
    if boxes.dim() == 4:  # one for every class
        query, boxes = query * boxes.shape[2] + labels, boxes.flatten(1, 2)  # [B, Q * C, 4]
    boxes = to_corners(boxes) * scale
    return Detections(take_rows(boxes, query), scores, labels, torch.ones_like(labels, dtype=torch.bool))


def _inside(boxes: Tensor, original_sizes: Tensor) -> Tensor:
    """``[B, K, 4]`` corners in pixels, limited to the image."""
    limits = original_sizes.to(boxes).flip(1).repeat(1, 2)[:, None]  # [B, 1, 4]
    return torch.minimum(boxes.clamp(min=0), limits)


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    # Which of equal scores comes first depends on the device.
    best = scores.topk(smaller(count, scores.shape[1]), dim=1)
    return best.values, best.indices
