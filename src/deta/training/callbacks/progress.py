"""How far a training is: a bar in a terminal, a line now and then elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from deta.tracking.metrics import SPEED_KEY, ends_logged_step
from deta.utils.checks import require_int


class TrainingProgress(ProgressBar):
    """Shows epoch, batches, images per second, loss, and the time left of the whole training, validations included.

    The loss is fetched from the device at the steps that are logged anyway. What is written to the terminal meanwhile
    appears above the bar.

    Args:
        refresh_rate: Batches between two updates of the bar, from 0; 0 shows nothing, neither here nor there.
        every_n_steps: Where standard error is no terminal, optimizer steps between two lines, from 1; None is as often
            as metrics are logged.
        console: Where to; None is standard error.
    """

    def __init__(
        self, *, refresh_rate: int = 10, every_n_steps: int | None = None, console: Console | None = None
    ) -> None:
        super().__init__()
        self._refresh_rate = require_int("callbacks.progress.refresh_rate", refresh_rate, low=0)
        if every_n_steps is not None:
            require_int("callbacks.progress.every_n_steps", every_n_steps, low=1)
        self._every_n_steps = every_n_steps
        self._console = console
        self._is_wanted = refresh_rate > 0
        self._bar: _Bar | None = None
        self._clock = _Clock()
        self._state: Sequence[str] = ()

    def disable(self) -> None:
        """Show nothing, as on all ranks but the first."""
        self._is_wanted = False

    def enable(self) -> None:
        """Show it again."""
        self._is_wanted = self._refresh_rate > 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._clock = _Clock()
        console = self._console or Console(stderr=True)
        if self._is_wanted and console.is_terminal:
            self._bar = _Bar(console)
        self._console = console

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Tell how far it is, if this is the time."""
        self._clock.passed(trainer, batch_idx)
        if not self._is_wanted:
            return
        if ends_logged_step(trainer, batch_idx):
            self._state = _state(trainer)
        batch, num_batches = batch_idx + 1, int(trainer.num_training_batches)
        epoch = f"epoch {trainer.current_epoch + 1}{of_epochs(trainer)}"
        told = ", ".join(part for part in (*self._state, self._clock.text()) if part)
        if self._bar is not None:
            if batch % self._refresh_rate == 0 or batch == num_batches:
                self._bar.show(epoch, batch, num_batches, told)
        elif ends_logged_step(trainer, batch_idx, self._every_n_steps):
            _write(self._console, f"{epoch}, batch {batch} of {num_batches}: {told}")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell how far the validation is."""
        if self._bar is not None and (batch_idx + 1) % self._refresh_rate == 0:
            self._bar.show("validation", batch_idx + 1, int(sum(trainer.num_val_batches)), self._clock.text())

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._close()

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:  # noqa: ANN401 - as Lightning declares it
        """Write what ``LightningModule.print`` is given, above the bar."""
        _write(self._console, sep.join(str(arg) for arg in args))

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Bar:
    """One line at the bottom of a terminal; what is written to standard error appears above it."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
        )
        is_whole = sys.stdout.isatty()
        self._progress = Progress(
            *columns, console=console, redirect_stdout=is_whole, transient=True, auto_refresh=False
        )  # without a thread, of which reading processes would inherit the locks
        before = sys.stderr
        self._progress.start()
        self._task: TaskID = self._progress.add_task("", total=None, state="")
        self._handlers = [
            handler
            for handler in logging.getLogger().handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is before
        ]
        for handler in self._handlers:
            handler.setStream(sys.stderr)
        self._before = before

    def show(self, title: str, done: int, total: int, state: str) -> None:
        self._progress.update(self._task, description=title, completed=done, total=total, state=state, refresh=True)

    def close(self) -> None:
        for handler in self._handlers:
            handler.setStream(self._before)
        self._progress.stop()


class _Clock:
    """Time left of a training, from the pace of this process since its first batch, which is slow."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None
        self._left: float = math.nan

    def passed(self, trainer: pl.Trainer, batch_idx: int) -> None:
        """Note a batch."""
        now, done = time.monotonic(), _done(trainer, batch_idx)
        if self._start is None:
            self._start = now, done
        start, first = self._start
        total = _total(trainer)
        if done > first and math.isfinite(total):
            self._left = (now - start) / (done - first) * max(0.0, total - done)

    def text(self) -> str:
        """Such as ``1:02:11 left``; nothing where it is not known."""
        return "" if math.isnan(self._left) else f"{timedelta(seconds=round(self._left))} left"


def _done(trainer: pl.Trainer, batch_idx: int) -> int:
    return trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1


def _total(trainer: pl.Trainer) -> float:
    """Batches of the whole training; infinite where nothing limits it."""
    steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return trainer.estimated_stepping_batches / steps_per_epoch * trainer.num_training_batches


def of_epochs(trainer: pl.Trainer) -> str:
    """Such as `` of 12``; nothing where epochs have no limit."""
    return "" if trainer.max_epochs in (None, -1) else f" of {trainer.max_epochs}"


def _state(trainer: pl.Trainer) -> list[str]:
    """Loss and pace, of the step that is logged."""
    metrics = trainer.callback_metrics
    parts = []
    if "train/loss" in metrics:
        parts.append(f"loss {float(metrics['train/loss']):.3f}")
    if SPEED_KEY in metrics:
        parts.append(f"{float(metrics[SPEED_KEY]):.1f} images/s")
    return parts


def _write(console: Console | None, line: str) -> None:
    (console or Console(stderr=True)).print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
