"""One line after each validation."""

import logging
import math
from typing import Any

import lightning.pytorch as pl

from deta.training.callbacks.progress import of_epochs
from deta.training.module import DetectionModule
from deta.utils.wording import points

_log = logging.getLogger(__name__)

_SHOWN = ("AP", "AP50", "AP75")


class ValidationLine(pl.Callback):
    """Tells epochs so far, loss, AP, AP50, AP75 in points and the best AP of the run, continued or not."""

    def __init__(self) -> None:
        self._best, self._best_epoch = -math.inf, 0.0

    def state_dict(self) -> dict[str, Any]:
        """The best AP and when it was."""
        return {"best": self._best, "epoch": self._best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._best, self._best_epoch = state_dict["best"], state_dict["epoch"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the line."""
        assert isinstance(pl_module, DetectionModule)
        if trainer.state.fn != "fit" or trainer.sanity_checking or pl_module.scores is None:
            return
        epoch = _epochs(trainer)
        found = pl_module.scores.metrics
        is_best = found["AP"] > self._best
        if is_best:
            self._best, self._best_epoch = found["AP"], epoch
        if not trainer.is_global_zero:
            return
        loss = trainer.callback_metrics.get("val/loss")
        parts = [] if loss is None else [f"loss {float(loss):.4g}"]
        parts += [f"{name} {points(found[name])}" for name in _SHOWN if name in found]
        if is_best:
            parts.append("the best so far")
        elif math.isfinite(self._best):
            parts.append(f"best {points(self._best)} after epoch {self._best_epoch:g}")
        _log.info("Epoch %g%s: %s", epoch, of_epochs(trainer), ", ".join(parts))


def _epochs(trainer: pl.Trainer) -> float:
    """Epochs so far; a fraction in the middle of one."""
    batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return round(trainer.current_epoch + batches / max(1, int(trainer.num_training_batches)), 2)
