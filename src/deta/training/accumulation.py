"""Gradient accumulation as one larger batch: all batches of an optimizer step share one divisor."""

from collections.abc import Iterable

import lightning.pytorch as pl
from torch import Tensor, nn

from deta.losses import Criterion


class AccumulatedBatch:
    """The batches of one optimizer step so far, as if they were a single one.

    How many objects a step has is known only once its last batch is there. Every batch is therefore divided by the
    number of objects so far, and what the earlier ones have given is rescaled from their divisor to that one. A mean of
    batches that are normalised one by one would weigh an object by how few others share its batch, and the last step
    of an epoch by how many batches it lacks.
    """

    def __init__(self) -> None:
        self._counts: Tensor | None = None
        self._losses: Tensor | None = None
        self._factor: Tensor | None = None

    def divisors(self, counts: Tensor) -> Tensor:
        """Add a batch.

        Args:
            counts: Its divisors of all terms, equal ones: mean over ranks, not yet raised to 1.

        Returns:
            Those of all batches so far.
        """
        if self._counts is None:
            self._counts = counts
        else:
            total = self._counts + counts
            self._factor = (self._counts.clamp(min=1) / total.clamp(min=1))[0]  # the criterion divides by at least 1
            self._counts = total
        return self._counts

    def losses(self, losses: Tensor) -> Tensor:
        """The losses of all batches so far; ``losses`` are those of the latest one by ``divisors``."""
        self._losses = losses if self._losses is None or self._factor is None else self._losses * self._factor + losses
        return self._losses

    def rescale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the gradients of earlier batches anew; before those of the latest one are added to them."""
        if self._factor is None:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(self._factor.to(parameter.grad.dtype))


def require_one_divisor(criterion: Criterion | None, num_batches: int) -> None:
    """Refuse a criterion whose stages have divisors of their own, where a step has several batches.

    Raises:
        ValueError: Gradients that were summed over such stages cannot be divided anew.
    """
    rules = [] if criterion is None else criterion.every_rule()
    wanted = {"normalizer": "num_targets", "per_object": "sum"}
    others = [
        (f"criterion.rules.{role}.{name}", getattr(rule, name), value)
        for role, rule in rules
        for name, value in wanted.items()
        if getattr(rule, name) != value
    ]
    if num_batches > 1 and others:
        key, found, value = others[-1]
        raise ValueError(
            f"{key}={found} divides every stage by a number of its own, which is known only after all batches of "
            f"a step, but trainer.accumulate_grad_batches is {num_batches}: use {key}={value}, or "
            "trainer.accumulate_grad_batches=1 and a larger data.batch_size"
        )


def require_shared_divisors(num_batches: int, where: str = "the criterion") -> None:
    """Refuse a step of several batches where a term has a divisor of its own.

    Args:
        num_batches: Batches of an optimizer step.
        where: What has such a term.

    Raises:
        ValueError: See ``require_one_divisor``.
    """
    if num_batches > 1:
        raise ValueError(
            f"{where} has a divisor of its own (repeat, pool, per_object or a term), but "
            f"trainer.accumulate_grad_batches is {num_batches}: "
            "use trainer.accumulate_grad_batches=1 and a larger data.batch_size"
        )


def require_validation_between_steps(trainer: pl.Trainer) -> None:
    """Refuse validations inside an optimizer step.

    Raises:
        ValueError: A checkpoint after such a validation would lack the gradients of the batches before.
    """
    interval, num_batches = trainer.val_check_batch, trainer.accumulate_grad_batches
    if not trainer.enable_validation or interval is None or interval >= trainer.num_training_batches:
        return
    if interval % num_batches:
        raise ValueError(
            f"trainer.val_check_interval={trainer.val_check_interval} validates every {interval} batches, inside an "
            f"optimizer step of trainer.accumulate_grad_batches={num_batches}: make the interval a multiple of that"
        )
