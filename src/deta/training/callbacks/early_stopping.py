"""Ends a training whose metric has stopped rising, and keeps it ended."""

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.utilities import rank_zero_only

from deta.training.callbacks.monitored import require_metric
from deta.utils.checks import require_int, require_number
from deta.utils.wording import counted, told

_log = logging.getLogger(__name__)

_ACT = ". Signaling Trainer to stop."
"""What Lightning's reasons end with."""


class EarlyStopping(LightningEarlyStopping):
    """Lightning's callback, which a continued run obeys, too; takes the same arguments.

    Lightning would train a run that has stopped for another epoch. Here it stays where it is unless it is continued
    with more patience or without this callback. Why it stopped is told at the end.

    Raises:
        ValueError: ``patience`` is below 1 or ``min_delta`` below 0, or ``monitor`` is no text.
    """

    def __init__(self, *, monitor: str, patience: int = 3, min_delta: float = 0.0, **options: Any) -> None:  # noqa: ANN401 - Lightning's own
        if not isinstance(monitor, str):
            raise ValueError(f"callbacks.early_stopping.monitor must name a metric such as val/AP, got {monitor!r}")
        require_int("callbacks.early_stopping.patience", patience, low=1)
        require_number("callbacks.early_stopping.min_delta", min_delta, low=0)
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, **options)

    @property
    def state_key(self) -> str:
        """That of Lightning's own callback, whose state it reads."""
        return super().state_key.replace(type(self).__qualname__, LightningEarlyStopping.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was counted; patience is that of the configuration."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop again what has stopped, unless there is patience left."""
        if self.stopping_reason == EarlyStoppingReason.NOT_STOPPED:
            return
        if self.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED and self.wait_count < self.patience:
            self.stopping_reason, self.stopping_reason_message = EarlyStoppingReason.NOT_STOPPED, None
            return
        trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide by the metric.

        Raises:
            ValueError: There is none of this name.
        """
        if self.strict and not trainer.sanity_checking and not self._check_on_train_epoch_end:
            require_metric("callbacks.early_stopping.monitor", self.monitor, trainer)
        super().on_validation_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say why the training has stopped."""
        if self.stopping_reason == EarlyStoppingReason.NOT_STOPPED:
            return
        reason = (self.stopping_reason_message or self.stopping_reason.value).removesuffix(_ACT)
        remedy = "callbacks.early_stopping=null"
        if self.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED:
            best, waited = told(self.monitor, float(self.best_score)), counted(self.wait_count, "validation")
            reason = f"{self.monitor} was not better than {best} in {waited}"
            remedy = f"callbacks.early_stopping.patience above {self.wait_count}, or {remedy},"
        _tell("Stopped early after epoch %d: %s; %s lets it go on", trainer.current_epoch, reason, remedy)


@rank_zero_only
def _tell(message: str, *values: object) -> None:
    _log.info(message, *values)
