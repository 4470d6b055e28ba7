"""Training and validation of a small detector, as Lightning runs them."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from deta.assign import Draw
from deta.data import ShapesDataModule
from deta.losses import Criterion
from deta.models.query.heads import PredictionHead
from deta.structures import DetectionOutput, Losses, Targets
from deta.tracking.metrics import read_metrics
from deta.training.module import DetectionModule
from tests.training.tiny import criterion, detection_module, logged, make_trainer, shapes, weights

STAGES = ("proposals", "layer0", "layer1")
COCO_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class Recorder(Criterion):
    """A criterion that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__(criterion().rules)
        self.outputs: list[DetectionOutput] = []
        self.draws: list[float] = []

    def __call__(self, output: DetectionOutput, targets: Targets, draw: Draw) -> Losses:
        """Record the output and a first random number."""
        self.outputs.append(output.detach())
        self.draws.append(float(draw.uniform("first", (), torch.device("cpu"))))
        return super().__call__(output, targets, draw)


def fit(module: DetectionModule, data: ShapesDataModule, folder: Path, **options: Any) -> pl.Trainer:  # noqa: ANN401
    """Train and return the trainer."""
    trainer = make_trainer(folder, **options)
    trainer.fit(module, datamodule=data)
    return trainer


def test_a_fit_logs_every_term_of_every_stage_and_the_numbers_of_coco(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    module = detection_module(data)
    trainer = fit(module, data, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    expected = {f"train/{stage}/{term}" for stage in STAGES for term in ("class", "l1", "giou")}
    expected |= {"train/loss", "train/class_error", "val/loss", *(f"val/{name}" for name in COCO_NUMBERS)}
    assert {name for row in rows for name in row} - {"step", "time", "epoch"} == expected
    assert len(logged(tmp_path, "train/loss")) == trainer.global_step == 2
    assert module.result is not None
    assert module.result.num_images == 2
    assert logged(tmp_path, "val/AP") == [pytest.approx(module.result.ap)]


def test_the_logged_loss_is_the_weighted_sum_of_the_logged_terms(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    fit(detection_module(data), data, tmp_path, limit_train_batches=1)
    row = next(row for row in read_metrics(tmp_path / "metrics.jsonl") if "train/loss" in row)
    factors = {"class": 1.0, "l1": 5.0, "giou": 2.0}
    total = sum(factor * row[f"train/{stage}/{term}"] for stage in STAGES for term, factor in factors.items())
    assert row["train/loss"] == pytest.approx(total, rel=1e-5)  # float32 sums


def test_training_moves_all_parameters_but_the_frozen_ones(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    module = detection_module(data, optimizer=torch.optim.AdamW)
    backbone = dict(module.detector.get_submodule("backbone").named_parameters())
    for parameter in backbone.values():
        parameter.requires_grad_(False)
    before = weights(module.detector)
    fit(module, data, tmp_path)
    moved = {name for name, value in weights(module.detector).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith("backbone.")}


def test_training_on_one_batch_lowers_its_loss(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache, num_train=2)
    fit(detection_module(data), data, tmp_path, max_epochs=12, limit_val_batches=0)
    losses = logged(tmp_path, "train/loss")
    assert len(losses) == 12
    assert losses[-1] < 0.9 * losses[0]


def test_equal_seeds_give_equal_losses(cache: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        data = shapes(cache)
        fit(detection_module(data), data, tmp_path / name)
    assert logged(tmp_path / "first", "train/loss") == logged(tmp_path / "second", "train/loss")


def test_random_choices_of_the_assignment_differ_between_steps_and_seeds(cache: Path, tmp_path: Path) -> None:
    draws = []
    for seed in (0, 0, 1):
        data, recorder = shapes(cache), Recorder()
        fit(detection_module(data, criterion=recorder, seed=seed), data, tmp_path, limit_val_batches=0)
        draws.append(recorder.draws)
    assert draws[0] == draws[1]
    assert len({*draws[0], *draws[2]}) == 4


def test_the_gradient_norm_is_clipped(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    module = detection_module(data, optimizer=torch.optim.SGD, lr=1.0)
    before = weights(module.detector)
    fit(module, data, tmp_path, gradient_clip_val=0.1, limit_train_batches=1, limit_val_batches=0)
    after = weights(module.detector)
    squares = sum(float((after[name] - before[name]).double().square().sum()) for name in before)
    assert math.sqrt(squares) == pytest.approx(0.1, rel=1e-3)  # a step of SGD at rate 1 is the gradient


def test_gradients_of_several_batches_make_one_step(cache: Path, tmp_path: Path) -> None:
    steps = []
    for accumulate in (1, 2):
        data = shapes(cache, batch_size=1)
        module = detection_module(data)
        trainer = fit(module, data, tmp_path / str(accumulate), accumulate_grad_batches=accumulate)
        steps.append(trainer.global_step)
    assert steps == [4, 2]


def test_half_precision_reaches_the_network_and_not_the_losses(cache: Path, tmp_path: Path) -> None:
    data, recorder = shapes(cache), Recorder()
    module = detection_module(data, criterion=recorder)
    inside: list[torch.dtype] = []

    def note_dtype(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        inside.append(output.dtype)

    module.detector.get_submodule("body.encoder.layers.0.ffn.linear1").register_forward_hook(note_dtype)
    fit(module, data, tmp_path, precision="bf16-mixed", limit_train_batches=1)
    assert set(inside) == {torch.bfloat16}
    assert len(recorder.outputs) == 2  # a training and a validation batch
    for output in recorder.outputs:
        tensors = [tensor for part in output.stages.values() for tensor in (part.logits, part.boxes, part.priors)]
        assert {tensor.dtype for tensor in tensors} == {torch.float32}
    assert all(math.isfinite(loss) for loss in logged(tmp_path, "train/loss"))


def test_a_limited_validation_evaluates_the_images_it_has_seen(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache, num_val=4)
    module = detection_module(data)
    fit(module, data, tmp_path, limit_train_batches=1, limit_val_batches=1)
    assert module.result is not None
    assert module.result.num_images == 2


def test_a_sanity_check_logs_no_metric(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    module = detection_module(data)
    fit(module, data, tmp_path, num_sanity_val_steps=1, limit_train_batches=1)
    assert len(logged(tmp_path, "val/AP")) == 1
    assert module.result is not None
    assert module.result.num_repeats == 0


@pytest.mark.parametrize(("interval", "expected"), [("step", [1e-3, 1e-4]), ("epoch", [1e-3, 1e-3])])
def test_the_schedule_counts_steps_or_epochs(cache: Path, tmp_path: Path, interval: str, expected: list[float]) -> None:
    rates: list[float] = []

    class Watch(pl.Callback):
        """Notes the rate of every step."""

        def on_before_optimizer_step(
            self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
        ) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

    data = shapes(cache)
    scheduler = partial(StepLR, step_size=1, gamma=0.1)
    module = detection_module(data, scheduler=scheduler, scheduler_interval=interval)
    fit(module, data, tmp_path, callbacks=[Watch()], limit_val_batches=0)
    assert rates == pytest.approx(expected)


def test_a_module_without_criterion_evaluates_and_refuses_to_train(cache: Path, tmp_path: Path) -> None:
    data = shapes(cache)
    module = detection_module(data, criterion=None, optimizer=None)
    make_trainer(tmp_path).validate(module, datamodule=data, verbose=False)
    assert module.result is not None
    assert module.result.num_images == 2
    with pytest.raises(ValueError, match="training needs an optimizer and a criterion"):
        fit(module, data, tmp_path)


def test_detect_gives_boxes_in_pixels_of_the_original_image(cache: Path) -> None:
    data = shapes(cache)
    module = detection_module(data).eval()
    batch = next(iter(data.val_dataloader()))
    with torch.no_grad():
        boxes = module.detect(batch).boxes
    height, width = batch.original_sizes[:, 0], batch.original_sizes[:, 1]
    limit = torch.stack((width, height, width, height), dim=1)[:, None]
    assert (boxes <= limit * 1.001).all()
    assert boxes.amax() > 110  # the detector saw at most 96


def test_a_fault_found_by_the_evaluation_is_named_with_epoch_and_step(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shapes(cache)
    module = detection_module(data)

    def diverge() -> None:
        for head in module.detector.modules():
            if isinstance(head, PredictionHead):
                torch.nn.init.constant_(head.class_logits.bias, torch.nan)

    monkeypatch.setattr(module, "on_validation_epoch_start", diverge)
    with pytest.raises(
        ValueError, match=r"validation at epoch 0, step 2: detections must have finite boxes and scores"
    ):
        fit(module, data, tmp_path)
