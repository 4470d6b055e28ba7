"""Saves the run so that it can be continued as if it had never stopped, and continues it so."""

import os
import signal
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from deta.runs import preemption
from deta.runs.state import LAST, PREVIOUS
from deta.tracking.metrics import MetricsLogger, ends_logged_step
from deta.tracking.mirror import mirrors
from deta.training.checkpoint import RESUME_KEY
from deta.training.continuation import (
    continue_after_epoch,
    continue_callbacks,
    ended_inside_epoch,
    require_whole_windows,
)
from deta.training.module import DetectionModule
from deta.training.random_state import random_state, set_random_state
from deta.training.ranks import gather
from deta.training.watchdog import Watchdog
from deta.utils.checks import require_int, require_number


class ResumeCheckpoint(Checkpoint):
    """Writes ``last.ckpt``, from which training continues bit by bit on a CPU, however it ended.

    It is written where Lightning can restart without losing or repeating anything: after an optimizer step that is
    not followed by a validation or the end of the epoch, after every validation unless it ends the training early, and
    at the end of the training. The step before a validation or the end of an epoch is always saved, so that at most
    that much is done again. The file before is kept as ``previous.ckpt``. A training that ends inside an epoch, since
    its ``max_steps`` are done, is not saved again after its last step: at its end Lightning takes the epoch for a whole
    one, and with more steps the rest of it would be left out.

    A signal (see ``deta.runs.preemption``) on any rank ends the training at the next such place with
    ``StoppedRun``, after saving; during a validation it ends at once, and the validation is done again. So does an
    evaluation after the training. Where nothing moves any more after a signal, since another rank or the reading of
    images hangs, the process leaves without saving, and the run goes on from what was saved before; in an evaluation
    after the training, too.

    Beside what Lightning keeps (weights, optimizer, schedule, loops, callbacks, position of the loader), the random
    states of every rank and the place in ``metrics.jsonl`` are stored.

    Args:
        folder: Where the files go.
        every_n_steps: Optimizer steps between two saves, from 1.
        seconds_to_leave: How long after a signal nothing may move, from 1. SLURM kills 30 s after ``SIGTERM``.
    """

    def __init__(self, *, folder: str | Path, every_n_steps: int = 1000, seconds_to_leave: float = 20.0) -> None:
        self._folder = Path(folder)
        self._seconds_to_leave = require_number("seconds_to_leave", seconds_to_leave, low=1)
        self._watchdog: Watchdog | None = None
        self._every_n_steps = require_int("every_n_steps", every_n_steps, low=1)
        self._has_saved = False
        self._saved: int | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._row: Mapping[str, Any] | None = None
        self._common_val_batches = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to signals in place of Lightning; cut the metrics back to the place of the checkpoint."""
        self._begin_watch(trainer)
        if self._loaded is not None:
            self._saved = trainer.global_step
            is_own = Path(str(trainer.ckpt_path)).resolve().parent == self._folder.resolve()  # and no other run's
            for logger in _metrics_loggers(trainer):
                logger.cut_back(self._loaded["metrics_end"] if is_own else 0, self._loaded["row"])
            for mirror in mirrors(trainer.loggers):
                mirror.continue_at(trainer.global_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Restore the random states as the last thing before the first step, unless the run has another seed."""
        self._moved()
        if self._loaded is not None:
            states = self._loaded["random"]
            is_same_seed = self._loaded.get("seed", _seed(pl_module)) == _seed(pl_module)
            if is_same_seed and len(states) == trainer.world_size:
                set_random_state(states[trainer.global_rank])
            self._loaded = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save if this is the time and the place; stop if a signal came."""
        self._moved()
        is_stopping = _agree_to_stop(trainer)
        if _ends_section(trainer, batch_idx):
            if is_stopping:
                raise self._stopped(trainer)
            return
        interval = trainer.accumulate_grad_batches
        if (batch_idx + 1) % interval:
            return  # accumulated gradients are not part of a checkpoint
        is_last_place = any(_ends_section(trainer, batch_idx + k) for k in range(1, interval + 1))
        is_last_place |= ended_inside_epoch(trainer)
        if is_stopping or is_last_place or trainer.global_step % self._every_n_steps == 0:
            self._row = _unwritten_row(trainer, batch_idx)
            self._save(trainer)
            self._row = None
        if is_stopping:
            raise self._stopped(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to signals also after the training; learn how many batches every rank has, to agree to stop in."""
        if not _is_fitting(trainer):
            self._begin_watch(trainer)
        number = torch.tensor(sum(int(n) for n in trainer.num_val_batches), device=pl_module.device)
        self._common_val_batches = int(trainer.strategy.reduce(number, reduce_op="min"))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if a signal came, without saving."""
        self._moved()
        is_common = batch_idx < self._common_val_batches
        if not trainer.sanity_checking and is_common and _agree_to_stop(trainer):
            raise self._stopped(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save; stop if a signal came.

        A training that ends early is saved at its end alone: one that is killed before goes through this validation
        again, and ends again.
        """
        if _is_fitting(trainer):
            is_stopping = _agree_to_stop(trainer)
            if not trainer.should_stop:
                self._save(trainer)
            if is_stopping:
                raise self._stopped(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what training has led to, unless it has just been saved inside an epoch."""
        if not ended_inside_epoch(trainer) or trainer.should_stop:
            self._save(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the user's signals end the process again."""
        self._end_watch()
        preemption.leave(preemption.STOPS)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Watch no more: the training is over, and what follows, such as telling it to W&B, takes its time."""
        self._end_watch()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the random states and the place in the metrics."""
        states = gather(random_state())
        ends = [logger.end() for logger in _metrics_loggers(trainer)]
        checkpoint[RESUME_KEY] = {
            "random": states,
            "seed": _seed(pl_module),
            "metrics_end": max(ends, default=0),
            "row": self._row,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep them until training starts; see that the checkpoint goes with the configuration."""
        require_whole_windows(checkpoint, trainer.accumulate_grad_batches)
        continue_after_epoch(checkpoint, trainer)
        continue_callbacks(checkpoint, trainer.callbacks)  # type: ignore[attr-defined]  # Lightning adds it when it is made
        self._loaded = checkpoint.get(RESUME_KEY)

    def _save(self, trainer: pl.Trainer) -> None:
        last = self._folder / LAST
        with nullcontext() if self._watchdog is None else self._watchdog.saving():
            if trainer.is_global_zero and last.exists():
                self._make_room(last, trainer.ckpt_path)
            trainer.save_checkpoint(last, weights_only=False)
            self._has_saved, self._saved = True, trainer.global_step

    def _make_room(self, last: Path, loaded: str | Path | None) -> None:
        """Keep the last checkpoint as the previous one if this process has written or read it.

        A death before the next one is there leaves that one. What could not be read must not take the place of the
        checkpoint from which the run goes on.
        """
        if self._has_saved or (loaded is not None and Path(loaded).resolve() == last.resolve()):
            last.replace(self._folder / PREVIOUS)
        elif last.is_dir():
            last.rename(last.with_name(f"{LAST}.{int(time.time())}"))  # no file can take its place

    def _begin_watch(self, trainer: pl.Trainer) -> None:
        """Listen to signals in place of Lightning, and leave where nothing moves after one."""
        signals = (*preemption.PREEMPTIONS, *preemption.STOPS)
        preemption.listen(signals)
        if self._watchdog is None:
            leave = partial(_leave, trainer, self._folder.parent)
            self._watchdog = Watchdog(
                signals=signals, seconds=self._seconds_to_leave, leave=leave, received=preemption.received()
            )

    def _end_watch(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def _moved(self) -> None:
        if self._watchdog is not None:
            self._watchdog.moved()

    def _stopped(self, trainer: pl.Trainer) -> preemption.StoppedRun:
        stop = preemption.received()
        assert stop is not None
        return preemption.StoppedRun(stop, trainer.global_step, self._saved)


def _seed(module: pl.LightningModule) -> int:
    assert isinstance(module, DetectionModule)
    return module.seed


def _leave(trainer: pl.Trainer, folder: Path, stop: signal.Signals) -> None:
    """Give up what was not saved, and the processes that this one has started, which may hang."""
    causes = "another rank or the reading of images hangs, or scores take long"
    text = f"deta: {stop.name}: nothing moves any more ({causes}): leaving now"
    os.write(2, f"\n{text}; deta train ckpt={folder} goes on from what was saved\n".encode())
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGKILL)
    for process in active_children():
        process.kill()
    if trainer.is_global_zero:
        preemption.hand_over(stop, folder)


def _is_fitting(trainer: pl.Trainer) -> bool:
    return trainer.state.fn == "fit" and not trainer.sanity_checking


def _agree_to_stop(trainer: pl.Trainer) -> bool:
    """Whether any rank has received a signal; then all have noted it."""
    stop = preemption.received()
    if trainer.world_size > 1:
        number = torch.tensor(0 if stop is None else int(stop), device=trainer.strategy.root_device)
        highest = int(trainer.strategy.reduce(number, reduce_op="max"))
        if highest:
            preemption.note(highest)
        return highest > 0
    return stop is not None


def _ends_section(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a validation or the end of the epoch follows this batch.

    A checkpoint saved there would make Lightning 2.6 leave out that validation, or the end of the epoch.
    """
    if batch_idx + 1 >= trainer.num_training_batches:
        return True
    interval = trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (interval is not None and (trainer.current_epoch + 1) % interval):
        return False
    batches = batch_idx + 1
    if interval is None:
        batches += trainer.current_epoch * int(trainer.num_training_batches)
    return trainer.val_check_batch is not None and batches % trainer.val_check_batch == 0


def _unwritten_row(trainer: pl.Trainer, batch_idx: int) -> dict[str, Any] | None:
    """The metrics of this step, which Lightning writes only after this hook, or None if it will write none."""
    if not ends_logged_step(trainer, batch_idx):
        return None
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
    return {"step": trainer.global_step - 1, "metrics": {**metrics, "epoch": float(trainer.current_epoch)}}


def _metrics_loggers(trainer: pl.Trainer) -> list[MetricsLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, MetricsLogger)]
