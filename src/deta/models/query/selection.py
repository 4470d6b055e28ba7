"""Which encoder positions become queries."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from deta.ops.boxes import to_corners
from deta.ops.nms import grouped_nms
from deta.ops.rows import take_rows
from deta.ops.sizes import first_of_each, smaller
from deta.utils.checks import require_int, require_number


class Selection(Protocol):
    """Chooses encoder positions; the choice carries no gradient."""

    def __call__(
        self, scores: Tensor, boxes: Tensor, is_valid: Tensor, level_sizes: Sequence[int], num_queries: int
    ) -> Tensor:
        """Choose ``num_queries`` positions of every image.

        Args:
            scores: ``[B, S]`` float32 logits; minus infinity where a position is taken, which is chosen last of all.
            boxes: ``[B, S, 4]`` ``cxcywh`` proposals in 0..1.
            is_valid: ``[B, S]`` bool; False is chosen only when there are too few valid positions.
            level_sizes: Positions of every level; they sum to S.
            num_queries: At most S.

        Returns:
            ``[B, num_queries]`` int64 positions, best first.
        """
        ...


class TopKPositions:
    """The positions with the best scores. Source: arXiv:2010.04159, sec. 4.2."""

    def __call__(
        self, scores: Tensor, boxes: Tensor, is_valid: Tensor, level_sizes: Sequence[int], num_queries: int
    ) -> Tensor:
        """By the score alone, whatever box or level."""
        del boxes, level_sizes
        return _best(_rank_invalid_last(scores, is_valid), num_queries)


class TopKPerLevel:
    """An equal share of the queries for every level, after non-maximum suppression inside each level.

    Of every level the best ``pre_topk`` positions are candidates. They pass suppression inside their level;
    then the best ``num_queries // L`` survivors of each level are taken, and the rest is filled with the next
    best survivors of any level. An image with fewer survivors than queries gets the plain best positions.

    Source: arXiv:2212.06137, sec. 4, and its release. Differs: a level with fewer positions than ``pre_topk``
    is used whole (the release fills up with positions of other levels), and invalid positions take no part.

    Args:
        nms_threshold: IoU above which the worse box goes, 0..1; None keeps all.
        pre_topk: Candidates of each level, at least 1.
    """

    def __init__(self, *, nms_threshold: float | None = 0.9, pre_topk: int = 1000) -> None:
        self.pre_topk = require_int("pre_topk", pre_topk, low=1)
        self.nms_threshold = nms_threshold
        if nms_threshold is not None:
            self.nms_threshold = require_number("nms_threshold", nms_threshold, low=0, high=1)

    def __call__(
        self, scores: Tensor, boxes: Tensor, is_valid: Tensor, level_sizes: Sequence[int], num_queries: int
    ) -> Tensor:
        """Survivors of every level, or the plain best positions where they are too few."""
        plain = _best(_rank_invalid_last(scores, is_valid), num_queries)
        survives, candidates, levels = self.survivors(scores, boxes, is_valid, level_sizes)
        if candidates.shape[1] < num_queries:
            return plain
        chosen = _share_of_levels(survives, levels, len(level_sizes), num_queries)
        # A stable sort moves the chosen ones to the front and leaves them best first.
        first_chosen = (~chosen).byte().argsort(dim=1, stable=True)[:, :num_queries]
        is_enough = survives.sum(1, keepdim=True) >= num_queries
        return torch.where(is_enough, candidates.gather(1, first_chosen), plain)

    def survivors(
        self, scores: Tensor, boxes: Tensor, is_valid: Tensor, level_sizes: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Candidates of all levels, best first, and what suppression leaves of them.

        Args:
            scores: ``[B, S]`` foreground logits.
            boxes: ``[B, S, 4]`` ``cxcywh`` proposals in 0..1.
            is_valid: ``[B, S]`` bool.
            level_sizes: Positions of every level.

        Returns:
            ``[B, K]`` bool, True where the candidate is valid and survives; ``[B, K]`` positions of the
            candidates; ``[B, K]`` their levels.
        """
        scores = _rank_invalid_last(scores, is_valid)
        candidates, levels = best_of_levels(scores, level_sizes, self.pre_topk)
        is_candidate = is_valid.gather(1, candidates)
        if self.nms_threshold is None:
            return is_candidate, candidates, levels
        boxes = take_rows(boxes, candidates)
        # Boxes are compared by what lies inside of the image.
        corners = to_corners(boxes).clamp(0, 1)
        scores = scores.gather(1, candidates)
        survives = grouped_nms(corners, scores, levels, self.nms_threshold, is_candidate)
        return survives, candidates, levels


def best_of_levels(scores: Tensor, level_sizes: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best positions of every level, or all of a smaller one.

    Args:
        scores: ``[B, S]``.
        level_sizes: Positions of every level; they sum to S.
        count: Of a level, at least 1.

    Returns:
        ``[B, K]`` int64 positions, best first over all levels, and ``[B, K]`` int64 their levels.
    """
    positions, start = [], 0
    for size in level_sizes:
        positions.append(_best(scores[:, start : start + size], smaller(size, count)) + start)
        start += size
    numbers = torch.arange(len(positions), device=scores.device).unbind()
    levels = torch.cat([number.expand_as(best) for number, best in zip(numbers, positions, strict=True)], dim=1)
    candidates = torch.cat(positions, dim=1)
    order = scores.gather(1, candidates).argsort(dim=1, descending=True, stable=True)
    return candidates.gather(1, order), levels.gather(1, order)


def _share_of_levels(survives: Tensor, levels: Tensor, num_levels: int, num_queries: int) -> Tensor:
    """``[B, K]`` bool: the best survivors of every level, then the next best of any level."""
    of_level = (levels[..., None] == torch.arange(num_levels, device=levels.device)) & survives[..., None]  # [B, K, L]
    in_share = (of_level & (of_level.cumsum(1) <= num_queries // num_levels)).any(-1)
    rest = survives & ~in_share
    num_free = num_queries - in_share.sum(1, keepdim=True)
    return in_share | (rest & (rest.cumsum(1) <= num_free))


def _rank_invalid_last(scores: Tensor, is_valid: Tensor) -> Tensor:
    """Positions that are not valid behind all others, and behind them those whose score is minus infinity."""
    lowest = torch.finfo(scores.dtype).min
    return torch.where(is_valid, scores, scores.clamp(max=lowest))


def _best(scores: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` best scores; of equal scores the earlier position, on every device."""
    return first_of_each(scores.argsort(dim=1, descending=True, stable=True), count)
