"""Averaged weights that leave the trained ones alone."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor

from deta.utils.checks import require_int


class WeightAveraging(EMAWeightAveraging):
    """Lightning's moving average of the weights.

    Validation uses the average, and a checkpoint holds it as its weights. At the end of the training Lightning would
    write it over the trained weights, from which a longer run could not go on.

    Args:
        decay: Share of the old average kept at each update, 0..1.
        ramp: The n-th update keeps ``decay * (1 - exp(-n / ramp))``, of an average that starts at the weights before
            the first; from 1. Source: code of arXiv:2107.08430 (YOLOX). None always keeps ``decay``, of an average that
            starts at the weights after the first update.
        options: Further ones of ``EMAWeightAveraging``.
    """

    def __init__(self, *, decay: float = 0.999, ramp: int | None = None, **options: Any) -> None:  # noqa: ANN401
        super().__init__(decay=decay, **options)
        self._has_ramp = ramp is not None
        if ramp is not None:
            require_int("callbacks.ema.ramp", ramp, low=1)
            self._kwargs = {**self._kwargs, "avg_fn": None, "multi_avg_fn": _ramped(decay, ramp)}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the average, of the weights as they are."""
        super().setup(trainer, pl_module, stage)
        if self._has_ramp and self._average_model is not None:
            self._average_model.n_averaged.fill_(1)  # at 0 the first update would be a copy

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the trained weights as they are."""


def _ramped(decay: float, ramp: int) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """An update of averages, numbered from 1, in place; of whole numbers, such as counts, the latest ones."""

    @torch.no_grad()
    def update(averages: list[Tensor], latest: list[Tensor], number: Tensor) -> None:
        if not averages[0].is_floating_point():  # all have one type
            torch._foreach_copy_(averages, latest)
            return
        share = -decay * torch.expm1(-number / ramp)  # on its device: the host need not wait
        changes = torch._foreach_sub(latest, averages)
        torch._foreach_mul_(changes, (1 - share).to(averages[0].dtype))
        torch._foreach_add_(averages, changes)

    return update
