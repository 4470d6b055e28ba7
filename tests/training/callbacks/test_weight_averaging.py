"""The averaging of weights, as ``conf/callbacks/ema.yaml`` uses it, on our module."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from deta.structures import Batch
from deta.training.callbacks import ResumeCheckpoint, WeightAveraging
from deta.training.checkpoint import read_checkpoint
from deta.training.module import DetectionModule
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights

DECAY = 0.8
RAMP = 3


class Recorder(pl.Callback):
    """Keeps the weights after every step and those of every validation."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.steps: list[dict[str, Tensor]] = []
        self.validations: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record."""
        assert isinstance(pl_module, DetectionModule)
        self.start = weights(pl_module.detector)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Record."""
        assert isinstance(pl_module, DetectionModule)
        self.steps.append(weights(pl_module.detector))

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Record."""
        assert isinstance(pl_module, DetectionModule)
        self.validations.append(weights(pl_module.detector))


def train(
    cache: Path,
    folder: Path,
    *,
    resume: Path | None = None,
    ramp: int | None = None,
    **options: Any,  # noqa: ANN401
) -> Recorder:
    """Two steps in every epoch, a checkpoint after each epoch."""
    data, recorder = shapes(cache), Recorder()
    checkpoint = ResumeCheckpoint(folder=folder / "checkpoints")
    callbacks = [WeightAveraging(decay=DECAY, ramp=ramp), recorder, checkpoint]
    trainer = make_trainer(folder, callbacks=callbacks, **options)
    trainer.fit(detection_module(data), datamodule=data, ckpt_path=resume, weights_only=True)
    return recorder


def averaged(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The moving average over the weights after every step, which starts at the first."""
    average = steps[0]
    for step in steps[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * value for name, value in step.items()}
    return average


def is_close(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Equal up to rounding in float32."""
    return all(torch.allclose(first[name], second[name], rtol=1e-5, atol=1e-7) for name in second)


def test_validation_and_checkpoint_hold_the_average_and_training_goes_on_without(cache: Path, tmp_path: Path) -> None:
    recorder = train(cache, tmp_path, max_epochs=2)
    assert len(recorder.steps) == 4
    assert len(recorder.validations) == 2
    for num_steps, found in zip((2, 4), recorder.validations, strict=True):
        assert is_close(found, averaged(recorder.steps[:num_steps]))
        assert not is_close(found, recorder.steps[num_steps - 1])
    assert is_close(dict(read_checkpoint(tmp_path).weights), averaged(recorder.steps))


def test_with_a_ramp_early_updates_keep_less_of_the_average(cache: Path, tmp_path: Path) -> None:
    recorder = train(cache, tmp_path, max_epochs=2, ramp=RAMP)
    average = recorder.start
    for number, step in enumerate(recorder.steps, start=1):
        share = DECAY * (1 - math.exp(-number / RAMP))
        average = {name: share * average[name] + (1 - share) * value for name, value in step.items()}
    assert is_close(recorder.validations[-1], average)
    assert not is_close(recorder.validations[-1], averaged(recorder.steps))


def test_a_wrong_ramp_is_named() -> None:
    with pytest.raises(ValueError, match=r"callbacks\.ema\.ramp must be at least 1, got 0"):
        WeightAveraging(ramp=0)


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize("ramp", [None, RAMP])
def test_a_continued_run_equals_one_that_was_never_stopped(cache: Path, tmp_path: Path, ramp: int | None) -> None:
    whole = train(cache, tmp_path / "whole", max_epochs=2, ramp=ramp)
    train(cache, tmp_path / "parts", max_epochs=1, ramp=ramp)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    second = train(cache, tmp_path / "parts", max_epochs=2, ramp=ramp, resume=last)
    assert is_same(whole.steps[-1], second.steps[-1])
    assert is_same(whole.validations[-1], second.validations[-1])
    parts = [dict(read_checkpoint(tmp_path / name).weights) for name in ("whole", "parts")]
    assert is_same(*parts)
