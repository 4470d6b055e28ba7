"""Stopping where nothing gets better, exactly so in a run that was killed and continued."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping


class EarlyStopping(LightningEarlyStopping):
    """Lightning's callback, which looks right after every validation, before the run is saved.

    Lightning forgets in a continued run that it was to stop; here the number of validations without a better one, which
    is in the checkpoint, says so again. More ``patience`` lets a stopped run go on.

    Args:
        monitor: The metric.
        options: Further ones of ``EarlyStopping``.
    """

    def __init__(self, *, monitor: str = "val/AP", **options: Any) -> None:  # noqa: ANN401
        super().__init__(monitor, check_on_train_epoch_end=False, **options)

    @property
    def state_key(self) -> str:
        """That of Lightning's own callback, whose state it reads."""
        return super().state_key.replace(type(self).__qualname__, LightningEarlyStopping.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was counted; patience is that of the configuration."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where no epoch is left unfinished."""
        progress = trainer.fit_loop.epoch_progress.current
        if progress.started == progress.processed:
            self._stop_again(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop behind the epoch in which the process was killed."""
        self._stop_again(trainer)

    def _stop_again(self, trainer: pl.Trainer) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
