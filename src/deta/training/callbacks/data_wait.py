"""Logs how much of the time a training or an evaluation spends waiting for data."""

import time

import lightning.pytorch as pl

from deta.data.loaders import EvalLoader, TrainLoader

TRAIN_KEY = "data/train_wait"
VAL_KEY = "data/val_wait"


class DataWait(pl.Callback):
    """Share of the time in which nothing was computed because the next batch was not there.

    Logged as ``data/train_wait`` for every epoch and ``data/val_wait`` for every validation, 0..1, mean over ranks.
    A share far above 0 wants more ``data.num_workers``. An epoch counts from where this process began it.
    """

    def __init__(self) -> None:
        self._starts: dict[str, tuple[float, float]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, since an epoch that is continued has no start of its own."""
        self._start(TRAIN_KEY, trainer.train_dataloader)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start(TRAIN_KEY, trainer.train_dataloader)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share of the epoch, the validations in it included."""
        pl_module.log(TRAIN_KEY, self._share(TRAIN_KEY, trainer.train_dataloader), sync_dist=True)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start(VAL_KEY, trainer.val_dataloaders)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share of the validation."""
        pl_module.log(VAL_KEY, self._share(VAL_KEY, trainer.val_dataloaders), sync_dist=True)

    def _start(self, key: str, loader: object) -> None:
        self._starts[key] = (time.perf_counter(), _waited(loader))

    def _share(self, key: str, loader: object) -> float:
        begin, waited = self._starts[key]
        return (_waited(loader) - waited) / (time.perf_counter() - begin)


def _waited(loader: object) -> float:
    assert isinstance(loader, (TrainLoader, EvalLoader)), type(loader)
    return loader.clock.seconds
