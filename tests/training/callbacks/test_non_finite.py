"""What happens when the loss is NaN or infinite."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from deta.structures import Batch
from deta.training.callbacks import NonFiniteGuard, NonFiniteLossError
from tests.models.tiny import tiny_detector
from tests.training.spoiled import SpoiledCriterion
from tests.training.tiny import detection_module, is_same, logged, make_trainer, shapes, weights


class Recorder(pl.Callback):
    """Keeps the weights after every step and the image ids of every batch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.image_ids: list[list[int]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Record the ids."""
        self.image_ids.append(batch.image_ids.tolist())

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Record the weights."""
        self.weights.append(weights(pl_module))


def run_into_failure(
    cache: Path,
    folder: Path,
    criterion: SpoiledCriterion,
    **options: Any,  # noqa: ANN401
) -> tuple[Recorder, str]:
    """Train until the guard stops it; returns what was seen and the message."""
    data, recorder = shapes(cache, num_train=8), Recorder()
    callbacks: list[pl.Callback] = [NonFiniteGuard(folder=folder / "run"), recorder]
    trainer = make_trainer(folder, callbacks=callbacks, **options)
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.fit(detection_module(data, criterion=criterion), datamodule=data)
    return recorder, str(caught.value)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_the_message_names_step_terms_images_and_the_dump(cache: Path, tmp_path: Path, factor: float) -> None:
    recorder, message = run_into_failure(cache, tmp_path, SpoiledCriterion(at=2, factor=factor))
    dump = tmp_path / "run" / "non_finite_step2_rank0.pt"
    assert message == (
        f"the loss is not finite at epoch 0, step 2: layer0/giou; image ids {recorder.image_ids[2]}. "
        f"Weights and batch lie in {dump}"
    )
    assert len(recorder.weights) == 2  # the third step was never taken


def test_the_dump_repeats_the_failing_step(cache: Path, tmp_path: Path) -> None:
    recorder, _ = run_into_failure(cache, tmp_path, SpoiledCriterion(at=1))
    dump = torch.load(tmp_path / "run" / "non_finite_step1_rank0.pt", weights_only=False)
    assert (dump["epoch"], dump["global_step"], dump["rank"]) == (0, 1, 0)
    assert dump["image_ids"] == dump["batch"].image_ids.tolist() == recorder.image_ids[1]
    before = {name: value for name, value in dump["state_dict"].items() if name in recorder.weights[0]}
    assert is_same(before, recorder.weights[0])
    assert [name for name, value in dump["terms"].items() if value != value] == ["layer0/giou"]
    detector = tiny_detector(num_classes=6)
    detector.load_state_dict({name.removeprefix("detector."): value for name, value in before.items()})
    output = detector(dump["batch"].images, dump["batch"].is_padding)
    assert torch.isfinite(output.final.logits).all()


def test_a_batch_inside_an_accumulated_step_is_caught_too(cache: Path, tmp_path: Path) -> None:
    recorder, message = run_into_failure(cache, tmp_path, SpoiledCriterion(at=2), accumulate_grad_batches=2)
    assert "step 1: layer0/giou" in message
    assert str(recorder.image_ids[2]) in message


def test_finite_losses_leave_no_trace(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    trainer = make_trainer(tmp_path, callbacks=[NonFiniteGuard(folder=tmp_path / "run")])
    trainer.fit(detection_module(data, criterion=SpoiledCriterion(at=None)), datamodule=data)
    assert not (tmp_path / "run").exists()
    assert len(logged(tmp_path, "train/loss")) == 2
