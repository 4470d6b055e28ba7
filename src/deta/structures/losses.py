"""What the criterion returns for a batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from deta.structures.base import TensorStruct
from deta.structures.matches import Matches, MatchStatistics
from deta.structures.prediction import StageKey


@dataclass(frozen=True)
class StageMatches(TensorStruct):
    """The assignments of a stage, or of all layers that share them.

    Attributes:
        classes: For the terms of classes.
        boxes: For the terms of boxes; the same object where the rule has one assigner.
        statistics: Of ``classes``.
    """

    classes: Matches
    boxes: Matches
    statistics: MatchStatistics


@dataclass(frozen=True)
class Losses(TensorStruct):
    """All losses of a batch as sums that are not yet divided, and the assignments behind them.

    Of K terms: the loss is the sum over all of them of ``weights * sums / max(divisors, floors)``.

    Attributes:
        names: Stage and name of every term, such as ``(StageKey("layers", 3), "giou")``.
        sums: ``[K]`` float32 with gradient.
        divisors: ``[K]`` float32.
        floors: ``[K]`` float32; a divisor counts as at least this.
        weights: ``[K]`` float32.
        is_global: For every term, whether its divisor is the mean over all ranks (else that of the rank's own images).
        is_undivided: For every term, whether it stays the sum of a batch (``normalizer=none``); its divisor is 0 then.
        has_own_divisors: Whether not all terms are divided by one number, that of the objects of all ranks, at least 1.
        matches: Every assignment that was made; a key without a layer serves all layers.
    """

    names: tuple[tuple[StageKey, str], ...]
    sums: Tensor
    divisors: Tensor
    floors: Tensor
    weights: Tensor
    is_global: tuple[bool, ...]
    is_undivided: tuple[bool, ...]
    has_own_divisors: bool
    matches: Mapping[StageKey, StageMatches]

    def terms(self) -> Tensor:
        """``[K]`` every term divided, before weighting."""
        return self.sums / torch.maximum(self.divisors, self.floors)

    def total(self) -> Tensor:
        """The scalar to minimise."""
        return (self.weights * self.terms()).sum()

    def averaged(self, mean: Callable[[Tensor], Tensor]) -> Self:
        """The same with divisors that are shared by the ranks replaced by ``mean`` of all ``[K]`` divisors."""
        shared = mean(self.divisors)
        if all(self.is_global):
            return replace(self, divisors=shared)
        picked = [shared[k] if is_global else self.divisors[k] for k, is_global in enumerate(self.is_global)]
        return replace(self, divisors=torch.stack(picked))  # [K]

    def matches_of(self, key: StageKey) -> StageMatches:
        """The assignment that serves the stage ``key``.

        Raises:
            KeyError: No rule has assigned it.
        """
        return self.matches[key] if key in self.matches else self.matches[StageKey(key.role, copy=key.copy)]
