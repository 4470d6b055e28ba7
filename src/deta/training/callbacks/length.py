"""How long a training is, by the size of its data."""

import logging
import math

import lightning.pytorch as pl

from deta.utils.checks import require_int
from deta.utils.wording import counted

_log = logging.getLogger(__name__)


class TrainingLength(pl.Callback):
    """Ends a training after about so many optimizer steps, in whole epochs: few images are seen often, many seldom.

    ``trainer.max_epochs`` is the most. Which epoch is the last one follows from the data alone, so that a run that is
    continued has the same.

    Args:
        steps: Optimizer steps that it should have, from 1.
        fewest_epochs: Epochs that it has at least, from 1, as far as ``trainer.max_epochs`` lets it.
    """

    def __init__(self, *, steps: int = 2000, fewest_epochs: int = 3) -> None:
        self._steps = require_int("callbacks.length.steps", steps, low=1)
        self._fewest_epochs = require_int("callbacks.length.fewest_epochs", fewest_epochs, low=1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the number of epochs, before the schedule begins."""
        most = trainer.max_epochs
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        epochs = max(self._fewest_epochs, math.ceil(self._steps / per_epoch))
        if most is not None and most >= 0:
            epochs = min(epochs, most)
        trainer.fit_loop.max_epochs = epochs
        if trainer.is_global_zero:
            steps, total = counted(per_epoch, "step"), counted(epochs * per_epoch, "step")
            _log.info("An epoch has %s: the training has %s, %s", steps, counted(epochs, "epoch"), total)
