"""Learning rates of every step, from the start and from any step on."""

import contextlib
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR, MultiStepLR

from deta.structures import Batch
from deta.training.callbacks import ResumeCheckpoint
from deta.training.joint import JointOptimizer
from deta.training.schedules import CourseLR, WarmUpCosineLR, WarmUpMultiStepLR, WarmUpToEndLR
from tests.training.tiny import detection_module, is_same, make_trainer, shapes, weights

Schedule = Callable[[Optimizer], CourseLR]

STEPS_PER_EPOCH = 4
RATES = (0.5, 0.05)
WARM_UP = partial(WarmUpMultiStepLR, steps=6, start=0.1, milestones=[2, 3])
COSINE = partial(WarmUpCosineLR, epochs=1, lowest=0.25, milestones=[3])
JOINT: dict[str, Any] = {
    "optimizer": partial(JointOptimizer, parts=["decoder"], own=AdamW, rest=partial(SGD, momentum=0.9), max_norm=0.01),
    "groups": {"lr_factors": {"decoder": 0.5}},
}
"""Settings of a training whose decoder has an optimizer of its own."""


def optimizer() -> SGD:
    """Two groups at two rates."""
    return SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES])


def followed(schedule: CourseLR, num_steps: int) -> list[list[float]]:
    """The rates of the groups in each of the next steps."""
    found = []
    for _ in range(num_steps):
        found.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return found


def begun(make: Schedule) -> CourseLR:
    """A schedule at its start, of a training of ``STEPS_PER_EPOCH``."""
    schedule = make(optimizer())
    schedule.begin(STEPS_PER_EPOCH)
    return schedule


def test_warm_up_and_milestones_are_the_product_of_those_of_torch() -> None:
    twin = optimizer()
    parts = [LinearLR(twin, start_factor=0.1, total_iters=6), MultiStepLR(twin, [2 * STEPS_PER_EPOCH, 12])]
    for rates in followed(begun(WARM_UP), 16):
        assert rates == pytest.approx([group["lr"] for group in twin.param_groups], rel=1e-12)
        twin.step()
        for part in parts:
            part.step()


def test_milestones_may_be_steps_whatever_the_epochs() -> None:
    found = [
        rates[0] for rates in followed(begun(partial(WarmUpMultiStepLR, steps=0, milestones=[5, 7], unit="step")), 9)
    ]
    assert found == pytest.approx([0.5] * 5 + [0.05] * 2 + [0.005] * 2)


def test_a_warm_up_of_no_steps_starts_with_the_whole_rate() -> None:
    assert followed(begun(partial(WarmUpMultiStepLR, steps=0)), 2) == [list(RATES)] * 2


def test_the_rate_rises_with_the_square_falls_with_the_cosine_and_stays() -> None:
    found = [rates[0] / RATES[0] for rates in followed(begun(COSINE), 16)]
    rise = [(step / 4) ** 2 for step in range(4)]
    fall = [0.25 + 0.75 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    assert found == pytest.approx([*rise, *fall, *[0.25] * 4])


def test_without_a_milestone_the_rate_stays_after_its_rise() -> None:
    found = [rates[0] for rates in followed(begun(partial(WarmUpCosineLR, epochs=1)), 8)]
    assert found[4:] == [RATES[0]] * 4


@pytest.mark.parametrize("num_steps", [0, 3, 6, 9, 14])
@pytest.mark.parametrize("make", [WARM_UP, COSINE], ids=["steps", "cosine"])
def test_a_schedule_goes_on_exactly_whether_restored_or_followed_anew(make: Schedule, num_steps: int) -> None:
    whole = begun(make)
    followed(whole, num_steps)
    restored, anew = make(optimizer()), make(optimizer())
    restored.load_state_dict(whole.state_dict())
    followed(anew, num_steps)  # as on continuation, before the training begins
    for schedule in (restored, anew):
        schedule.begin(STEPS_PER_EPOCH)
    assert followed(whole, 16) == followed(restored, 16)
    whole = begun(make)
    followed(whole, num_steps)
    assert followed(whole, 16) == followed(anew, 16)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (WarmUpMultiStepLR, {"steps": -1}, r"schedule\.make\.steps must be at least 0, got -1"),
        (WarmUpMultiStepLR, {"start": 2.0}, r"schedule\.make\.start must be .*, got 2.0"),
        (WarmUpMultiStepLR, {"gamma": "low"}, r"schedule\.make\.gamma must be a number, got 'low'"),
        (WarmUpMultiStepLR, {"unit": "batch"}, r"schedule\.make\.unit must be one of epoch, step, got 'batch'"),
        (WarmUpMultiStepLR, {"milestones": 8}, r"schedule\.make\.milestones must be a list, got 8"),
        (WarmUpCosineLR, {"milestones": [1.5]}, r"schedule\.make\.milestones: each must be an integer, got 1.5"),
        (WarmUpCosineLR, {"lowest": -0.1}, r"schedule\.make\.lowest must be .*, got -0.1"),
        (WarmUpCosineLR, {"epochs": None}, r"schedule\.make\.epochs must be a number, got None"),
    ],
)
def test_a_wrong_value_is_named(kind: Callable[..., CourseLR], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(optimizer(), **options)


class Death(BaseException):
    """The process is gone."""


class Rates(pl.Callback):
    """Keeps the rate of every step, and leaves before a chosen one."""

    def __init__(self, leave_before: int | None = None) -> None:
        self.found: dict[int, float] = {}
        self._leave_before = leave_before

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Record, or leave."""
        if trainer.global_step == self._leave_before:
            raise Death
        self.found[trainer.global_step] = trainer.optimizers[0].param_groups[0]["lr"]


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.parametrize(
    ("make", "options"), [(WARM_UP, {}), (COSINE, {}), (WARM_UP, JOINT)], ids=["steps", "cosine", "two optimizers"]
)
def test_a_run_killed_inside_an_epoch_ends_as_one_that_was_not(
    cache: Path, tmp_path: Path, make: Schedule, options: dict[str, Any]
) -> None:
    def train(name: str, leave_before: int | None = None) -> tuple[dict[int, float], dict[str, torch.Tensor]]:
        data, rates = shapes(cache, num_train=2 * STEPS_PER_EPOCH), Rates(leave_before)
        module = detection_module(data, scheduler=make, scheduler_interval="step", **options)
        folder = tmp_path / name
        saved = folder / "checkpoints" / "last.ckpt"
        callbacks = [rates, ResumeCheckpoint(folder=saved.parent, every_n_steps=1)]
        trainer = make_trainer(folder, callbacks=callbacks, max_epochs=4, limit_val_batches=0)
        with contextlib.suppress(Death):
            trainer.fit(module, datamodule=data, ckpt_path=saved if saved.exists() else None, weights_only=True)
        return rates.found, weights(module)

    rates, end = train("whole")
    assert list(rates) == list(range(16))
    schedule = make(SGD([nn.Parameter(torch.zeros(1))], lr=1e-3))
    schedule.begin(STEPS_PER_EPOCH)
    assert list(rates.values()) == [step[0] for step in followed(schedule, 16)]
    first, _ = train("parts", leave_before=6)
    second, other_end = train("parts")
    assert first | second == rates
    assert next(iter(second)) == 6
    assert is_same(end, other_end)


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_epochs_of_a_schedule_are_those_of_optimizer_steps(cache: Path, tmp_path: Path) -> None:
    data, rates = shapes(cache, num_train=10), Rates(None)  # five batches, of which two and at last one make a step
    module = detection_module(data, scheduler=WARM_UP, scheduler_interval="step")
    trainer = make_trainer(tmp_path, callbacks=[rates], max_epochs=4, limit_val_batches=0, accumulate_grad_batches=2)
    trainer.fit(module, datamodule=data)
    schedule = WARM_UP(SGD([nn.Parameter(torch.zeros(1))], lr=1e-3))
    schedule.begin(3)
    assert list(rates.found.values()) == [step[0] for step in followed(schedule, 12)]


def test_a_course_of_the_whole_training_rises_and_ends_with_it() -> None:
    schedule = WarmUpToEndLR(optimizer(), rise=0.25, lowest=0.1, milestones=[3])
    schedule.begin(STEPS_PER_EPOCH, 21)
    factors = [rates[0] / RATES[0] for rates in followed(schedule, 21)]
    top = 0.25 * 21
    assert factors[:6] == pytest.approx([(step + 1) / (top + 1) for step in range(6)])
    assert all(first > second for first, second in pairwise(factors[6:]))
    half = 6 + math.ceil((20 - top) / 2)
    assert factors[half] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * (half - top) / (20 - top))) / 2)
    assert factors[-1] == pytest.approx(0.1)


def test_a_course_of_a_training_without_an_end_keeps_the_whole_rate() -> None:
    schedule = WarmUpToEndLR(optimizer(), rise=0.25)
    schedule.begin(STEPS_PER_EPOCH)
    assert followed(schedule, 3) == [list(RATES)] * 3
    with pytest.raises(ValueError, match=r"schedule\.make\.rise"):
        WarmUpToEndLR(optimizer(), rise=1.5)
