"""A continued run goes on as its configuration says, with what it has learnt."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR, OneCycleLR, SequentialLR

from deta.training.callbacks import WeightAveraging
from deta.training.continuation import (
    continue_callbacks,
    continue_optimization,
    continue_weights,
    require_whole_windows,
)
from deta.training.optim import PARAMETER_NAMES, parameter_groups

STEPS_PER_EPOCH = 3
FACTORS = {"backbone": 0.1}

Schedule = Callable[[Optimizer], LRScheduler]


def model() -> nn.ModuleDict:
    generator = torch.Generator().manual_seed(0)
    parts = nn.ModuleDict({"heads": nn.Linear(2, 1), "backbone": nn.Linear(2, 2)})
    for parameter in parts.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return parts


def start(
    parts: nn.Module,
    *,
    optimizer: Callable[..., Optimizer] = AdamW,
    schedule: Schedule | None = None,
    lr: float = 0.1,
    lr_factors: Mapping[str, float] = FACTORS,
) -> tuple[Optimizer, LRScheduler | None]:
    """Optimizer and schedule as a configuration makes them."""
    made = optimizer(parameter_groups(parts.named_parameters(), lr=lr, lr_factors=lr_factors))
    return made, None if schedule is None else schedule(made)


def train(num_steps: int, *, interval: str = "epoch", **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """What Lightning saves after so many steps."""
    parts = model()
    optimizer, scheduler = start(parts, **options)
    for step in range(num_steps):
        optimizer.zero_grad()
        for parameter in parts.parameters():
            parameter.grad = torch.full_like(parameter, step + 1.0)
        optimizer.step()
        if scheduler is not None and (interval == "step" or (step + 1) % STEPS_PER_EPOCH == 0):
            scheduler.step()
    epochs, rest = divmod(num_steps, STEPS_PER_EPOCH)
    progress = {"is_last_batch": rest == 0, "current": {"ready": rest or STEPS_PER_EPOCH}}
    return {
        "global_step": num_steps,
        "loops": {
            "fit_loop": {
                "epoch_progress": {"current": {"ready": epochs + (rest > 0)}},
                "epoch_loop.batch_progress": progress,
            }
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [] if scheduler is None else [scheduler.state_dict()],
    }


def go_on(checkpoint: dict[str, Any], *, interval: str = "epoch", **options: Any) -> Optimizer:  # noqa: ANN401
    """The optimizer of a continued run, restored as Lightning restores it."""
    parts = model()
    continue_optimization(checkpoint, *start(parts, **options), interval=interval)
    optimizer, scheduler = start(parts, **options)
    optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    if scheduler is not None:
        scheduler.load_state_dict(checkpoint["lr_schedulers"][0])
    return optimizer


def rates(optimizer: Optimizer) -> dict[str, float]:
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def averages(optimizer: Optimizer) -> dict[str, Tensor]:
    """Adam's first moment by name."""
    named = [
        pair for group in optimizer.param_groups for pair in zip(group[PARAMETER_NAMES], group["params"], strict=True)
    ]
    return {name: optimizer.state[parameter]["exp_avg"] for name, parameter in named if parameter in optimizer.state}


def step_schedule(*milestones: int, gamma: float = 0.1) -> Schedule:
    return partial(MultiStepLR, milestones=list(milestones), gamma=gamma)


def warm_up(optimizer: Optimizer) -> LRScheduler:
    parts = [LambdaLR(optimizer, lambda step: (step + 1) / 4), CosineAnnealingLR(optimizer, T_max=9)]
    return SequentialLR(optimizer, parts, milestones=[4])


@pytest.mark.parametrize("num_steps", [2, 3, 7, 9])
@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize(
    "schedule",
    [None, step_schedule(1, 2), warm_up, partial(OneCycleLR, max_lr=0.3, total_steps=12)],
    ids=["constant", "milestones", "warm-up", "one-cycle"],
)
def test_an_unchanged_configuration_changes_nothing(num_steps: int, interval: str, schedule: Schedule | None) -> None:
    checkpoint = train(num_steps, interval=interval, schedule=schedule)
    states, schedules = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    parts = model()
    continue_optimization(checkpoint, *start(parts, schedule=schedule), interval=interval)
    assert checkpoint["optimizer_states"][0]["param_groups"] == states[0]["param_groups"]
    torch.testing.assert_close(checkpoint["optimizer_states"][0]["state"], states[0]["state"], rtol=0, atol=0)
    assert checkpoint["lr_schedulers"] == schedules


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lr": 0.2}, 0.02),
        ({"schedule": step_schedule()}, 0.1),
        ({"schedule": step_schedule(1, gamma=0.5)}, 0.05),
        ({"schedule": step_schedule(1, 2)}, 0.001),
        ({"schedule": step_schedule(5)}, 0.1),
        ({"schedule": None}, 0.1),
    ],
)
def test_rates_are_those_of_the_new_configuration_at_this_epoch(changes: dict[str, Any], expected: float) -> None:
    checkpoint = train(2 * STEPS_PER_EPOCH, schedule=step_schedule(1))
    found = rates(go_on(checkpoint, **{"schedule": step_schedule(1), **changes}))
    assert found == pytest.approx({"base": expected, "backbone": expected / 10})


def test_a_schedule_of_steps_may_replace_one_of_epochs_and_the_other_way_round() -> None:
    checkpoint = train(STEPS_PER_EPOCH + 1, schedule=step_schedule(1))
    assert rates(go_on(checkpoint, interval="step", schedule=step_schedule(2, 4, 5)))["base"] == pytest.approx(1e-3)
    checkpoint = train(STEPS_PER_EPOCH + 1, interval="step", schedule=step_schedule(1, 2, 3))
    assert rates(go_on(checkpoint, schedule=step_schedule(1, 2)))["base"] == pytest.approx(1e-2)


def test_the_next_milestone_is_that_of_the_new_configuration() -> None:
    checkpoint = train(STEPS_PER_EPOCH, schedule=step_schedule(2))
    parts = model()
    continue_optimization(checkpoint, *start(parts, schedule=step_schedule(3)), interval="epoch")
    optimizer, scheduler = start(parts, schedule=step_schedule(3))
    assert scheduler is not None
    optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    scheduler.load_state_dict(checkpoint["lr_schedulers"][0])
    found = []
    for _ in range(2):
        optimizer.step()
        scheduler.step()
        found.append(rates(optimizer)["base"])
    assert found == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize(
    "setting", [{"weight_decay": 0.5}, {"betas": (0.5, 0.6)}, {"eps": 1e-3}, {"maximize": True}], ids=str
)
def test_other_settings_of_the_optimizer_are_the_new_ones_and_moments_stay(setting: dict[str, Any]) -> None:
    checkpoint = train(4)
    before = averages(go_on(train(4)))
    optimizer = go_on(checkpoint, optimizer=partial(AdamW, **setting))
    assert all(group[name] == value for group in optimizer.param_groups for name, value in setting.items())
    torch.testing.assert_close(averages(optimizer), before, rtol=0, atol=0)


@pytest.mark.parametrize("factors", [{}, {"heads": 2.0}, {"heads": 2.0, "backbone": 0.5}], ids=str)
def test_moments_follow_their_parameters_into_other_groups(factors: dict[str, float]) -> None:
    before = averages(go_on(train(4)))
    optimizer = go_on(train(4), lr_factors=factors)
    assert set(rates(optimizer)) - {"base"} == set(factors)
    found = averages(optimizer)
    assert found.keys() == before.keys()
    for name, average in found.items():
        assert torch.equal(average, before[name])


def test_a_relative_of_the_optimizer_takes_over_its_moments(caplog: pytest.LogCaptureFixture) -> None:
    assert len(averages(go_on(train(4), optimizer=Adam))) == 4
    assert not caplog.records


@pytest.mark.parametrize("optimizer", [partial(SGD, momentum=0.9), partial(AdamW, amsgrad=True)], ids=str)
def test_an_optimizer_of_another_state_starts_without_and_says_so(
    optimizer: Callable[..., Optimizer], caplog: pytest.LogCaptureFixture
) -> None:
    continued = go_on(train(4), optimizer=optimizer, lr=0.3)
    assert not continued.state
    assert rates(continued)["base"] == 0.3
    assert "needs another state than the checkpoint holds: it starts without any" in caplog.text


def test_an_optimizer_without_state_takes_none(caplog: pytest.LogCaptureFixture) -> None:
    assert not go_on(train(4), optimizer=SGD).state
    assert not caplog.records


def test_parameters_that_were_frozen_before_start_without_moments(caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = train(4)
    (saved,) = checkpoint["optimizer_states"]
    group = saved["param_groups"][1]
    for index in group["params"]:
        del saved["state"][index]
    del saved["param_groups"][1]
    assert set(averages(go_on(checkpoint))) == {"heads.weight", "heads.bias"}
    assert "2 parameters not trained before, without a state of the optimizer: backbone." in caplog.text


def test_older_checkpoints_without_names_go_on_in_equal_groups_alone() -> None:
    checkpoint, again = train(4), train(4)
    for each in (checkpoint, again):
        for group in each["optimizer_states"][0]["param_groups"]:
            del group[PARAMETER_NAMES]
    assert len(averages(go_on(checkpoint))) == 4
    with pytest.raises(ValueError, match=r"restore optimizer\.lr_factors .* \(weights=<run>\)"):
        go_on(again, lr_factors={})


def test_a_schedule_that_is_over_is_named() -> None:
    checkpoint = train(4)
    with pytest.raises(ValueError, match=r"schedule\.make, followed to step 4 where the run stands: .*total.* steps"):
        go_on(checkpoint, interval="step", schedule=partial(OneCycleLR, max_lr=0.3, total_steps=3))


def test_a_callback_keeps_the_settings_of_the_configuration_and_its_memory() -> None:
    saved = EarlyStopping("val/AP", patience=3)
    saved.wait_count = 2
    now = EarlyStopping("val/AP", patience=7)
    checkpoint = {"callbacks": {saved.state_key: saved.state_dict()}}
    continue_callbacks(checkpoint, [now, pl.Callback()])
    now.load_state_dict(checkpoint["callbacks"][now.state_key])
    assert (now.patience, now.wait_count) == (7, 2)


@pytest.mark.parametrize(("window", "is_whole"), [(1, True), (2, True), (4, True), (3, False), (8, False)])
def test_accumulation_may_change_where_a_window_ends(window: int, is_whole: bool) -> None:
    progress = {"is_last_batch": False, "current": {"ready": 4}}
    checkpoint = {"loops": {"fit_loop": {"epoch_loop.batch_progress": progress}}}
    if is_whole:
        require_whole_windows(checkpoint, window)
    else:
        with pytest.raises(ValueError, match=rf"after batch 4, .*_batches={window}: take a divisor of 4"):
            require_whole_windows(checkpoint, window)
    progress["is_last_batch"] = True
    require_whole_windows(checkpoint, window)


def test_without_averaging_the_trained_weights_go_on(caplog: pytest.LogCaptureFixture) -> None:
    parts = model()
    trained = parts.state_dict()
    average = {name: value + 1 for name, value in trained.items()}
    checkpoint = {"state_dict": average, "current_model_state": trained}
    continue_weights(checkpoint, parts, [WeightAveraging()])
    assert checkpoint["state_dict"] is average
    assert not caplog.records
    continue_weights(checkpoint, parts, [pl.Callback()])
    assert checkpoint["state_dict"] is trained
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape"])
def test_weights_that_do_not_fit_are_named(damage: str) -> None:
    parts = model()
    weights = dict(parts.state_dict())
    weight = weights.pop("heads.weight")
    if damage != "missing":
        weights["heads.weight" if damage == "shape" else "heads.other"] = weight[:, :1]
    with pytest.raises(ValueError, match=r"does not fit .*heads\..* cannot change in a continued run"):
        continue_weights({"state_dict": weights}, parts, [])
