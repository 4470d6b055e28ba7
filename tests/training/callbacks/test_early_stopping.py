"""A run that ends early, averages its weights, is killed and goes on."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import pytest

from deta.tracking.metrics import CLOCK_KEYS, read_metrics
from deta.training.callbacks import BestCheckpoint, EarlyStopping, ResumeCheckpoint, WeightAveraging
from deta.training.checkpoint import read_training
from deta.training.module import DetectionModule
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights

pytestmark = pytest.mark.filterwarnings("ignore:.*exists and is not empty")


class Strike(pl.Callback):
    """Fails at the end of an epoch, when the validation has decided but nothing is saved yet."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Strike."""
        if trainer.current_epoch == self._epoch:
            raise ZeroDivisionError


def train(
    cache: Path, folder: Path, *, patience: int = 1, epochs: int = 4, further: Sequence[pl.Callback] = ()
) -> DetectionModule:
    """AP is 0 in every validation, so the first one is the best; continues what lies in the folder."""
    data = shapes(cache)
    stopping = EarlyStopping(
        monitor="val/AP", mode="max", patience=patience, min_delta=0.01, check_on_train_epoch_end=False
    )
    callbacks = [stopping, WeightAveraging(decay=0.9, ramp=3), ResumeCheckpoint(folder=folder), *further]
    last = folder / "last.ckpt"
    module = detection_module(data)
    trainer = make_trainer(folder, callbacks=callbacks, max_epochs=epochs)
    trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    return module


def rows(folder: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in CLOCK_KEYS}
        for row in read_metrics(folder / "metrics.jsonl")
    ]


def num_epochs(folder: Path) -> int:
    return int(max(row.get("epoch", 0) for row in rows(folder))) + 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, DetectionModule]:
    """A run with patience for one validation, which nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(cache, folder)


def test_a_run_ends_when_ap_has_not_risen_for_as_many_validations_as_it_has_patience(
    whole: tuple[Path, DetectionModule],
) -> None:
    assert num_epochs(whole[0]) == 2


@pytest.mark.parametrize("struck_at", [0, 1])
def test_a_killed_run_ends_at_the_same_place_with_the_same_bits(
    cache: Path, tmp_path: Path, whole: tuple[Path, DetectionModule], struck_at: int
) -> None:
    with pytest.raises(ZeroDivisionError):
        train(cache, tmp_path, further=[Strike(struck_at)])
    module = train(cache, tmp_path)
    folder, other = whole
    assert rows(tmp_path) == rows(folder)
    assert is_same(weights(module), weights(other))
    first, second = (read_training(place / "last.ckpt")["state_dict"] for place in (tmp_path, folder))
    assert is_same(first, second)


def test_a_run_that_has_ended_early_stays_ended_until_it_gets_more_patience(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(cache, tmp_path)
    before = weights(train(cache, tmp_path))
    assert num_epochs(tmp_path) == 2
    with caplog.at_level(logging.INFO, logger="deta"):
        again = train(cache, tmp_path)
    assert is_same(weights(again), before)
    (message,) = [record.getMessage() for record in caplog.records if "Stopped early" in record.getMessage()]
    assert message == (
        "Stopped early after epoch 2: val/AP was not better than 0.00 in 1 validation; "
        "callbacks.early_stopping.patience above 1, or callbacks.early_stopping=null, lets it go on"
    )
    train(cache, tmp_path, patience=2)
    assert num_epochs(tmp_path) == 3


@pytest.mark.parametrize(("name", "value"), [("patience", 0), ("min_delta", -0.1)])
def test_a_wrong_setting_is_named(name: str, value: float) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=rf"callbacks\.early_stopping\.{name} must be at least"):
        EarlyStopping(monitor="val/AP", **options)


@pytest.mark.parametrize(("name", "advice"), [("val/ap", "did you mean val/AP?"), ("x", "there are .*val/loss")])
def test_a_metric_that_is_none_is_named_with_those_there_are(name: str, advice: str) -> None:
    trainer = mock.Mock(sanity_checking=False, callback_metrics={"val/AP": 0.1, "val/loss": 2.0})
    for key, callback in (
        ("early_stopping", EarlyStopping(monitor=name)),
        ("best", BestCheckpoint(dirpath="none", filename="best", monitor=name, save_on_train_epoch_end=False)),
    ):
        with pytest.raises(ValueError, match=rf"^callbacks\.{key}\.monitor={name} is no metric of this run: {advice}"):
            callback.on_validation_end(trainer, mock.Mock())
