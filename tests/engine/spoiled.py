"""A criterion that fails at a chosen step."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from deta.losses import Criterion
from deta.structures import DetectionOutput, Losses, Targets
from tests.engine.tiny import criterion


class SpoiledCriterion(Criterion):
    """Multiplies the loss of one call by ``factor``; the term ``layer0/giou`` is to blame.

    Args:
        at: Number of the call, from 0; None spoils none.
        factor: NaN or infinite.
    """

    def __init__(self, *, at: int | None, factor: float = float("nan")) -> None:
        rules = criterion()
        super().__init__(layer_assigner=rules.layer_assigner, proposal_assigner=rules.proposal_assigner)
        self._at = at
        self._factor = factor
        self._num_calls = 0

    def __call__(
        self,
        output: DetectionOutput,
        targets: Targets,
        *,
        generator: torch.Generator | None = None,
        average: Callable[[Tensor], Tensor] | None = None,
    ) -> Losses:
        """The losses, spoiled at the chosen call."""
        losses = super().__call__(output, targets, generator=generator, average=average)
        self._num_calls += 1
        if self._at is None or self._num_calls != self._at + 1:
            return losses
        terms = {**losses.terms, "layer0/giou": losses.terms["layer0/giou"] * self._factor}
        return replace(losses, total=losses.total * self._factor, terms=terms)
