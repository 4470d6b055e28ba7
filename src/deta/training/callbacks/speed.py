"""Logs how fast a training is and how much memory of the GPU it takes."""

import time

import lightning.pytorch as pl
import torch

from deta.structures import Batch
from deta.tracking.metrics import ends_logged_step

SPEED_KEY = "speed/images_per_s"
MEMORY_KEY = "speed/gpu_memory_gb"


class Speed(pl.Callback):
    """Images per second of all ranks, and the most memory that this rank's GPU has held, since it was last logged.

    Logged as ``speed/images_per_s``, validations left out, and ``speed/gpu_memory_gb`` (1e9 bytes, of tensors) every
    ``log_every_n_steps``. Nothing waits for the device: the logging of losses at these steps does so anyway, whence
    the clock is right over many of them.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._num_images = 0
        self._paused = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._begin()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on."""
        self._start += time.perf_counter() - self._paused

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count; log if this is the time."""
        self._num_images += len(batch)
        if not ends_logged_step(trainer, batch_idx):
            return
        pace = self._num_images * trainer.world_size / max(time.perf_counter() - self._start, 1e-9)
        pl_module.log(SPEED_KEY, pace)
        device = trainer.strategy.root_device
        if device.type == "cuda":
            pl_module.log(MEMORY_KEY, torch.cuda.max_memory_allocated(device) / 1e9)
            torch.cuda.reset_peak_memory_stats(device)
        self._begin()

    def _begin(self) -> None:
        self._start, self._num_images = time.perf_counter(), 0
