"""The loss of a whole validation, however its images are spread over batches and ranks."""

from dataclasses import replace

import torch

from deta.structures import Losses
from deta.training.ranks import gather


class ValidationLoss:
    """Sums of all losses over sums of all divisors.

    A mean of the losses of batches would depend on which images share a batch; and a divisor that is averaged over
    ranks needs all of them in every batch, of which one rank may have more than another. Only a term that nothing
    divides (``normalizer=none``) is such a mean: a sum would grow with the number of images. What is drawn for
    a batch, such as the noise and the number of denoising queries, follows the batch in any case.
    """

    def __init__(self) -> None:
        self._sum: Losses | None = None
        self._num_batches = 0

    def update(self, losses: Losses) -> None:
        """Add a batch, without communication between ranks."""
        self._num_batches += 1
        sums, divisors = losses.sums.detach().double(), losses.divisors.double()
        if self._sum is not None:
            sums, divisors = self._sum.sums + sums, self._sum.divisors + divisors
        self._sum = replace(losses.detach(), sums=sums, divisors=divisors, matches={})

    def compute(self) -> float | None:
        """The loss over all ranks, every one of which must call this; None if no rank had a batch."""
        own = None if self._sum is None else (self._sum.to("cpu"), self._num_batches)
        ranks = [rank for rank in gather(own) if rank is not None]
        if not ranks:
            return None
        losses, counts = zip(*ranks, strict=True)
        sums, divisors = (torch.stack([getattr(part, name) for part in losses]).sum(0) for name in ("sums", "divisors"))
        divisors = torch.where(torch.tensor(losses[0].is_undivided), sum(counts), divisors)
        return float(replace(losses[0], sums=sums, divisors=divisors).total())

    def reset(self) -> None:
        """Forget all batches."""
        self._sum = None
        self._num_batches = 0
