"""The loss of a whole validation, however its images are spread over batches and ranks."""

from dataclasses import replace

from deta.structures import Losses
from deta.training.ranks import gather


class ValidationLoss:
    """Sums of all losses over sums of all divisors.

    A mean of the losses of batches would depend on which images share a batch; and a divisor that is averaged over
    ranks needs all of them in every batch, of which one rank may have more than another.
    """

    def __init__(self) -> None:
        self._sum: Losses | None = None

    def update(self, losses: Losses) -> None:
        """Add a batch, without communication between ranks."""
        sums, divisors = losses.sums.detach().double(), losses.divisors.double()
        if self._sum is not None:
            sums, divisors = self._sum.sums + sums, self._sum.divisors + divisors
        self._sum = replace(losses.detach(), sums=sums, divisors=divisors, matches={})

    def compute(self) -> float | None:
        """The loss over all ranks, every one of which must call this; None if no rank had a batch."""
        ranks = [rank for rank in gather(None if self._sum is None else self._sum.to("cpu")) if rank is not None]
        if not ranks:
            return None
        total = replace(
            ranks[0],
            sums=sum(rank.sums for rank in ranks[1:]) + ranks[0].sums,
            divisors=sum(rank.divisors for rank in ranks[1:]) + ranks[0].divisors,
        )
        return float(total.total())

    def reset(self) -> None:
        """Forget all batches."""
        self._sum = None
