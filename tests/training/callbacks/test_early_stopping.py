"""A training that gets no better ends, and ends where it would have ended if it is killed and continued."""

from pathlib import Path

import lightning.pytorch as pl
import pytest

from deta.training.callbacks import EarlyStopping, ResumeCheckpoint
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights


class KilledError(Exception):
    """Stands for the end of a process."""


class Kill(pl.Callback):
    """Ends the process in a place behind the second validation."""

    def __init__(self, place: str) -> None:
        self._place = place

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """When that validation is saved, and the end of the epoch is not."""
        if trainer.current_epoch == 1 and self._place == "epoch":
            raise KilledError

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the end of the training is saved."""
        if self._place == "end":
            raise KilledError


def train(
    folder: Path, *further: pl.Callback, ckpt: Path | None = None, patience: int = 1
) -> tuple[pl.Trainer, pl.LightningModule]:
    """Train at a rate of 0, so that the second validation is no better than the first."""
    data = shapes(folder.parent / "cache")
    module = detection_module(data, lr=0.0)
    stopping = EarlyStopping(monitor="val/AP", mode="max", patience=patience, check_finite=False)
    callbacks = [stopping, ResumeCheckpoint(folder=folder / "checkpoints"), *further]
    trainer = make_trainer(folder, max_epochs=4, callbacks=callbacks)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer, module


@pytest.mark.parametrize("place", ["epoch", "end"])
def test_a_training_that_is_killed_while_it_stops_stops_there_when_it_is_continued(place: str, tmp_path: Path) -> None:
    whole, module = train(tmp_path / "whole")
    assert (whole.current_epoch, whole.global_step) == (2, 4)
    with pytest.raises(KilledError):
        train(tmp_path / "killed", Kill(place))
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    continued, again = train(tmp_path / "killed", ckpt=last)
    assert (continued.current_epoch, continued.global_step) == (2, 4)
    assert is_same(weights(again), weights(module))


def test_a_stopped_training_goes_on_with_more_patience_alone(tmp_path: Path) -> None:
    train(tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert train(tmp_path / "run", ckpt=last)[0].global_step == 4
    assert train(tmp_path / "run", ckpt=last, patience=2)[0].global_step == 6
