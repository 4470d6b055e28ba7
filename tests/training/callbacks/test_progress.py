"""What a training tells while it runs: a bar, lines, its pace."""

import logging
import sys
from io import StringIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
from rich.console import Console

from deta.evaluation import Scores
from deta.tracking.metrics import MEMORY_KEY, SPEED_KEY, VAL_SPEED_KEY
from deta.training.callbacks import Speed, TrainingProgress, ValidationLine, progress, speed
from tests.training.tiny import detection_module, logged, make_trainer, shapes

STEP = 10.0


def train(cache: Path, folder: Path, *callbacks: pl.Callback, **options: Any) -> None:  # noqa: ANN401 - of Lightning
    data = shapes(cache)
    trainer = make_trainer(folder, callbacks=list(callbacks), enable_progress_bar=True, **options)
    trainer.fit(detection_module(data), datamodule=data)


@pytest.mark.parametrize(
    ("every", "options", "of"),
    [
        (2, {"max_epochs": 3}, " of 3"),
        (1, {"max_epochs": -1, "max_steps": 3, "accumulate_grad_batches": 3}, ""),  # an epoch is a step of two batches
    ],
)
def test_without_a_terminal_a_line_every_few_steps_tells_the_time_left_of_the_whole_training(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, options: dict[str, int], of: str
) -> None:
    ticks = count(step=STEP)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    text = StringIO()
    shown = TrainingProgress(every_n_steps=every, console=Console(file=text))
    train(cache, tmp_path, Speed(), shown, **options)
    lines = text.getvalue().splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"epoch {k}{of}, batch 2 of 2" for k in (1, 2, 3)]
    assert [line.rpartition(", ")[2] for line in lines] == ["0:00:40 left", "0:00:20 left", "0:00:00 left"]
    losses = logged(tmp_path, "train/loss")
    assert [f": loss {loss:.3f}, " in line for loss, line in zip(losses[every - 1 :: every], lines, strict=True)] == [
        True
    ] * 3
    assert all(" images/s, " in line for line in lines)


class _Fails(pl.Callback):
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: object) -> None:
        logging.getLogger("deta.test").warning("said at step %d", trainer.global_step)
        if trainer.global_step == 2:
            raise ZeroDivisionError


def test_in_a_terminal_messages_appear_above_the_bar_which_is_gone_after_a_failure(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = StringIO()
    monkeypatch.setattr(sys, "stderr", text)
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    bar = TrainingProgress(refresh_rate=1, console=Console(file=text, force_terminal=True, width=100))
    try:
        with pytest.raises(ZeroDivisionError):
            train(cache, tmp_path, bar, _Fails(), max_epochs=3)
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.stream is text
    assert sys.stderr is text
    shown = text.getvalue()
    assert "epoch 1 of 3" in shown
    assert "2/2" in shown
    assert "validation" in shown
    before, said, _ = shown.partition("said at step 1\n")
    assert said
    assert before.endswith("\x1b[2K")  # the line of the bar was cleared for it


def test_nothing_is_shown_at_a_refresh_rate_of_0(cache: Path, tmp_path: Path) -> None:
    text = StringIO()
    train(cache, tmp_path, TrainingProgress(refresh_rate=0, console=Console(file=text)))
    assert text.getvalue() == ""


class _Ticker(pl.Callback):
    """Two seconds for a batch, a hundred for a validation."""

    def __init__(self) -> None:
        self.now = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: object) -> None:
        self.now += 2

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.now += 100


def test_images_per_second_leave_validations_out(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticker = _Ticker()
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: ticker.now))
    monkeypatch.setattr(speed, "_has_trained", False)
    train(cache, tmp_path, ticker, Speed(), TrainingProgress(refresh_rate=0), max_epochs=2)
    assert logged(tmp_path, SPEED_KEY) == [1.0, 1.0, 1.0, 1.0]
    memory = logged(tmp_path, MEMORY_KEY)
    assert len(memory) == 4
    assert all(0.1 < value < 100 for value in memory)
    train(cache, tmp_path / "second", Speed(), max_epochs=1)
    assert logged(tmp_path / "second", MEMORY_KEY) == []  # the most may have been that of the first


class _Clock(pl.Callback):
    """Five seconds for a batch of a validation, and many before it and after it."""

    def __init__(self) -> None:
        self.now = 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.now += 1000

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: object) -> None:
        self.now += 5

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.now += 1000


def test_the_pace_of_a_validation_is_that_of_its_batches(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    train(cache, tmp_path, clock, Speed(), max_epochs=1)
    assert logged(tmp_path, VAL_SPEED_KEY) == [pytest.approx(2 / 5)]  # one batch of two images


def _told(line: ValidationLine, module: pl.LightningModule, caplog: pytest.LogCaptureFixture, **changes: object) -> str:
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=4))))
    options = {"state": SimpleNamespace(fn="fit"), "sanity_checking": False, "is_global_zero": True, "max_epochs": 12}
    trainer: Any = SimpleNamespace(
        **options, num_training_batches=4, fit_loop=loop, callback_metrics={"val/loss": 6.5}, **changes
    )
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="deta"):
        line.on_validation_end(trainer, module)
    return caplog.records[-1].getMessage()


def test_after_a_validation_one_line_tells_ap_and_the_best_so_far_also_of_earlier_parts(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = detection_module(shapes(cache))
    line = ValidationLine()
    module.scores = Scores({"AP": 0.25, "AP50": 0.5, "AP75": float("nan"), "AR1": 1.0}, "")
    told = _told(line, module, caplog, current_epoch=1)
    assert told == "Epoch 2 of 12: loss 6.5, AP 25.00, AP50 50.00, AP75 -, the best so far"
    continued = ValidationLine()
    continued.load_state_dict(line.state_dict())
    module.scores = Scores({"AP": 0.2}, "")
    told = _told(continued, module, caplog, current_epoch=2)
    assert told == "Epoch 3 of 12: loss 6.5, AP 20.00, best 25.00 after epoch 2"
