"""A criterion that fails at a chosen step."""

from dataclasses import replace

import torch

from deta.assign import Draw
from deta.losses import Criterion
from deta.structures import DetectionOutput, Losses, StageKey, Targets
from tests.training.tiny import criterion


class SpoiledCriterion(Criterion):
    """Multiplies the term ``layer0/giou`` of one call by ``factor``.

    Args:
        at: Number of the call, from 0; None spoils none.
        factor: NaN or infinite.
    """

    def __init__(self, *, at: int | None, factor: float = float("nan")) -> None:
        super().__init__(criterion().rules)
        self._at = at
        self._factor = factor
        self._num_calls = 0

    def __call__(self, output: DetectionOutput, targets: Targets, draw: Draw) -> Losses:
        """The losses, spoiled at the chosen call."""
        losses = super().__call__(output, targets, draw)
        self._num_calls += 1
        if self._at is None or self._num_calls != self._at + 1:
            return losses
        factors = torch.ones_like(losses.sums)
        factors[losses.names.index((StageKey("layers", 0), "giou"))] = self._factor
        return replace(losses, sums=losses.sums * factors)
