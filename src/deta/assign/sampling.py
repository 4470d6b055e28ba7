"""Random choice of a limited number of candidates per image."""

from dataclasses import replace

import torch
from torch import Tensor

from deta.assign.base import Assigner, Problem
from deta.assign.ignored import ignore_covered
from deta.ops.random import Draw
from deta.ops.rows import take_rows
from deta.structures import BACKGROUND, IGNORED, Matches, Prediction, Targets
from deta.utils.checks import require_callable, require_int, require_number


def keep_random(is_positive: Tensor, limit: int, draw: Draw) -> Tensor:
    """Keep at most ``limit`` random positives of every image.

    Args:
        is_positive: ``[B, Q]`` bool.
        limit: Largest number kept per image, at least 0.
        draw: Source of randomness.

    Returns:
        ``[B, Q]`` bool; equal to ``is_positive`` in images that are within the limit.
    """
    return _first(is_positive, _priority(is_positive, draw), limit, limit)


def keep_balanced(target: Tensor, number: int, positive_fraction: float, draw: Draw) -> Tensor:
    """Keep a random number of the candidates of every image, positives first.

    Source: arXiv:1506.01497 (Faster R-CNN), sec. 3.1.3.

    Args:
        target: ``[B, N]`` as of ``Matches``; ``IGNORED`` ones are not kept.
        number: Of all that are kept in an image, at least 0.
        positive_fraction: Largest share of ``number`` that positives take, 0..1; background fills the rest.
        draw: Source of randomness.

    Returns:
        ``[B, N]`` bool.
    """
    is_positive, is_background = target >= 0, target == BACKGROUND
    priority = _priority(is_positive, draw)
    most = int(number * positive_fraction)
    keep = _first(is_positive, priority, most, most)
    num_free = number - keep.sum(1, keepdim=True)
    return keep | _first(is_background, priority, num_free, number)


def keep_random_share(keep: Tensor, least: float, draw: Draw) -> Tensor:
    """Keep of every image a random share, uniform from ``least`` to 1, of what is flagged, rounded down.

    Source: arXiv:2011.10881 (TSP-RCNN), release.

    Args:
        keep: ``[B, N]`` bool.
        least: Of the shares, 0..1.
        draw: Source of randomness.

    Returns:
        ``[B, N]`` bool.
    """
    draw = draw.within("share")
    share = 1 - draw.uniform("dropped", (len(keep), 1), keep.device) * (1 - least)
    return _first(keep, _priority(keep, draw), (keep.sum(1, keepdim=True) * share).floor(), keep.shape[1])


class SampledAssigner:
    """Another rule, of whose answer a random sample is trained and the rest ignored. Source: arXiv:1506.01497.

    Args:
        assigner: The other rule.
        number: Of candidates that are trained in an image, from 1.
        positive_fraction: Largest share of them that positives take, 0..1.
        ignore_coverage: As of ``Rule``, but before the sample is drawn, so that what is ignored takes no place in it.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        assigner: Assigner,
        number: int = 256,
        positive_fraction: float = 0.5,
        ignore_coverage: float | None = None,
    ) -> None:
        require_callable("assigner", assigner)
        self.assigner = assigner
        self.number = require_int("number", number, low=1)
        self.positive_fraction = require_number("positive_fraction", positive_fraction, low=0, high=1)
        if ignore_coverage is not None:
            require_number("ignore_coverage", ignore_coverage, low=0, high=1)
        self.ignore_coverage = ignore_coverage
        self.needs = tuple(getattr(assigner, "needs", ()))
        self.is_one_to_one = bool(getattr(assigner, "is_one_to_one", False))

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches | Problem:
        """Its answer; ``cut`` are images in which not all positives are trained."""
        return self.assigner(prediction, targets, draw.within("assigner")).then(
            lambda matches: self._sampled(matches, prediction, targets, draw)
        )

    def _sampled(self, matches: Matches, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        if self.ignore_coverage is not None:
            matches = ignore_covered(matches, prediction, targets, self.ignore_coverage)
        target, exists = matches.target, prediction.exists
        offered = target if exists is None else torch.where(exists, target, IGNORED)
        keep = keep_balanced(offered, self.number, self.positive_fraction, draw)
        if exists is not None:  # what does not exist stays as it is and takes no place
            keep = keep | ~exists
        is_cut = matches.is_positive() & ~keep
        notes = {name: note & keep if note.dim() == 2 else note for name, note in matches.notes.items()}
        extra = matches.extra
        if extra is not None:
            extra = replace(extra, is_pair=extra.is_pair & take_rows(keep, extra.query))
        target = torch.where(keep, target, IGNORED)
        return replace(matches, target=target, extra=extra, notes=notes | {"cut": is_cut.any(1)})


def _priority(like: Tensor, draw: Draw) -> Tensor:
    return draw.uniform("priority", like.shape, like.device)


def _first(flags: Tensor, priority: Tensor, limit: int | Tensor, most: int) -> Tensor:
    """``[B, Q]`` bool: the first ``limit``, or ``[B, 1]`` of an image, of at most ``most`` flagged ones by priority."""
    most = min(most, flags.shape[1])
    # 2 is above every priority: what is not flagged comes last.
    order = torch.where(flags, priority, 2.0).topk(most, dim=1, largest=False).indices  # [B, most]
    is_first = (torch.arange(most, device=flags.device) < limit).expand_as(order)
    return torch.zeros_like(flags).scatter(1, order, is_first) & flags
