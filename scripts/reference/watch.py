"""Callbacks that change or keep what a training does."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT

from scripts.reference.door import batch_digest


class Noise(pl.Callback):
    """Changes every gradient by a random part of itself.

    Args:
        size: Standard deviation of the part.
        seed: Of the noise.
    """

    def __init__(self, size: float, seed: int) -> None:
        self._size = size
        self._generator = torch.Generator().manual_seed(seed)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before anything clips or averages."""
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.grad.shape, generator=self._generator)
                parameter.grad.mul_(1 + self._size * noise)


class Watch(pl.Callback):
    """Keeps what a training does, step by step.

    Args:
        initial: Where the weights before the first step are saved as a checkpoint; None does not.

    Attributes:
        step: Of the batch under way, from 0.
        losses: Of every step by their logged names, the total as ``train/loss``.
        batches: Digest of every batch.
    """

    def __init__(self, initial: Path | None = None) -> None:
        self._initial = initial
        self.step = 0
        self.losses: list[dict[str, float]] = []
        self.batches: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        if self._initial is not None:
            trainer.save_checkpoint(self._initial, weights_only=True)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401 - a batch of either side
        batch_idx: int,
    ) -> None:
        """Note the batch."""
        self.step = len(self.losses)
        self.batches.append(batch_digest(batch))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Note the losses; the class error is a count, which no tolerance fits."""
        metrics = trainer.callback_metrics
        names = [name for name in metrics if name.startswith("train/") and name != "train/class_error"]
        self.losses.append({name: float(metrics[name]) for name in names})
