"""The loss of a whole validation, however its images are spread over batches and ranks."""

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor

from deta.engine.ranks import gather
from deta.losses import Criterion
from deta.structures import Losses

Measure = Callable[[Callable[[Tensor], Tensor]], Losses]
"""Calls the criterion with a function that is given the divisors of the batch and returns those to use."""


class ValidationLoss:
    """Sums of all losses over sums of all divisors.

    A mean of the losses of batches would depend on which images share a batch; and a divisor that is averaged over
    ranks needs all of them in every batch, of which one rank may have more than another.
    """

    def __init__(self) -> None:
        self._losses: dict[str, Tensor] = {}
        self._divisors: dict[str, Tensor] = {}

    def update(self, criterion: Criterion, measure: Measure) -> Losses:
        """Add a batch, without communication between ranks.

        Returns:
            The losses of the batch by its own divisors.
        """
        counts: list[Tensor] = []

        def keep(divisors: Tensor) -> Tensor:
            counts.append(divisors)
            return torch.ones_like(divisors)

        losses = measure(keep)
        divisors = dict(zip(losses.matches, counts[0].unbind(), strict=True))
        for stage, count in divisors.items():
            kinds = {name.rpartition("/")[2]: value for name, value in losses.terms.items() if _stage(name) == stage}
            total = torch.stack([criterion.weights[kind] * value for kind, value in kinds.items()]).sum().double()
            self._losses[stage] = self._losses.get(stage, 0.0) + total
            self._divisors[stage] = self._divisors.get(stage, 0.0) + count.double()
        terms = {name: value / divisors[_stage(name)].clamp(min=1) for name, value in losses.terms.items()}
        total = torch.stack([criterion.weights[name.rpartition("/")[2]] * value for name, value in terms.items()]).sum()
        return Losses(total, terms, losses.matches)

    def compute(self) -> float | None:
        """The loss over all ranks, every one of which must call this; None if no rank had a batch."""
        losses: dict[str, float] = defaultdict(float)
        divisors: dict[str, float] = defaultdict(float)
        own = {stage: (float(loss), float(self._divisors[stage])) for stage, loss in self._losses.items()}
        for rank in gather(own):
            for stage, (loss, divisor) in rank.items():
                losses[stage] += loss
                divisors[stage] += divisor
        return sum(losses[stage] / max(1.0, divisors[stage]) for stage in losses) if losses else None

    def reset(self) -> None:
        """Forget all batches."""
        self._losses, self._divisors = {}, {}


def _stage(term: str) -> str:
    return term.rpartition("/")[0]
