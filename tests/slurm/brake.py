"""A callback that holds a training at chosen steps until it is told to stop."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl

from deta.runs import preemption

SECONDS_OF_PATIENCE = 600.0


class Brake(pl.Callback):
    """Waits before a step of each life of a job until a signal has come; a later life runs through.

    While it waits there is a file ``waiting-<life>`` in ``folder``.

    Args:
        folder: The run directory.
        steps: Steps done when it waits, for the first life, the second and so on; None does not wait.
        only: Part of the name of the run directories that it holds; empty is all.
    """

    def __init__(self, *, folder: str, steps: Sequence[int | None], only: str = "") -> None:
        self._folder = Path(folder)
        life = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        is_held = only in self._folder.name and life < len(steps)
        self._step = steps[life] if is_held else None
        self._mark = self._folder / f"waiting-{life}"

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Wait."""
        if trainer.global_step != self._step:
            return
        if trainer.is_global_zero:
            self._mark.touch()
        end = time.monotonic() + SECONDS_OF_PATIENCE
        while preemption.received() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"no signal within {SECONDS_OF_PATIENCE} s")
            time.sleep(0.02)
