"""Logs how fast a training and its validations are, and how much memory they take."""

import resource
import sys
import time

import lightning.pytorch as pl
import torch

from deta.structures import Batch
from deta.tracking.metrics import GPU_MEMORY_KEY, MEMORY_KEY, SPEED_KEY, VAL_SPEED_KEY, ends_logged_step

_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of which the system counts the most memory of a process."""
_has_trained = False
"""Whether this process has trained before."""


class Speed(pl.Callback):
    """Images per second of all ranks, in training and in validation, and the most memory that this rank has held.

    Logged as ``speed/images_per_s``, validations left out, every ``log_every_n_steps``, with ``speed/gpu_memory_gb``
    (1e9 bytes, of tensors since then) or, on a CPU, ``speed/memory_gb`` (of the process since its start, unless it has
    trained another run before, as in a sweep). Nothing waits for the device: the logging of losses at these steps does
    so anyway, whence the clock is right over many of them.

    ``speed/val_images_per_s`` is logged after each validation: from the first batch that was read to the detections of
    the last one, which are no longer on the device.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._num_images = 0
        self._paused = 0.0
        self._validated = 0
        self._first_batch = 0.0
        self._last_batch = 0.0
        self._is_alone = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        global _has_trained
        self._is_alone, _has_trained = not _has_trained, True
        self._begin()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock of the training."""
        self._paused = time.perf_counter()
        self._validated = 0

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start the clock of the validation with its first batch."""
        if not self._validated:
            self._first_batch = time.perf_counter()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count images of the validation."""
        self._validated += len(batch)
        self._last_batch = time.perf_counter()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the pace of the validation."""
        if self._validated:
            seconds = max(self._last_batch - self._first_batch, 1e-9)
            pl_module.log(VAL_SPEED_KEY, self._validated * trainer.world_size / seconds, sync_dist=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the clock of the training."""
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
            pl_module.log(GPU_MEMORY_KEY, torch.cuda.max_memory_allocated(device) / 1e9)
            torch.cuda.reset_peak_memory_stats(device)
        elif self._is_alone:
            pl_module.log(MEMORY_KEY, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT / 1e9)
        self._begin()

    def _begin(self) -> None:
        self._start, self._num_images = time.perf_counter(), 0
