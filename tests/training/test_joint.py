"""Two optimizers as one do what each of them does alone, and go on exactly."""

import io
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer

from deta.training.continuation import continue_optimization
from deta.training.joint import JointOptimizer
from deta.training.optim import parameter_groups, parameter_kinds
from deta.training.schedules import WarmUpMultiStepLR

MAX_NORM = 0.5
FACTORS = {"layers": 0.1, "norm": 0.1}
OWN = partial(AdamW, weight_decay=0.1)
REST = partial(SGD, momentum=0.9, weight_decay=0.2)
JOINT = partial(JointOptimizer, parts=["layers", "norm"], own=OWN, rest=REST, max_norm=MAX_NORM)
SCHEDULE = partial(WarmUpMultiStepLR, steps=2, start=0.25, milestones=[4], unit="step")


def model() -> nn.ModuleDict:
    """A tiny head of layers and a norm behind them, between two other parts."""
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "stem": nn.Linear(3, 4),
            "layers": nn.ModuleList([nn.Linear(4, 4)]),
            "norm": nn.LayerNorm(4),
            "out": nn.Linear(4, 2),
        }
    )


def groups_of(parts: nn.Module) -> list[dict[str, Any]]:
    return parameter_groups(
        parts.named_parameters(),
        lr=0.1,
        lr_factors=FACTORS,
        weight_decays={"norm": 0.0},
        kinds=parameter_kinds(parts),
    )


def run_backward(parts: nn.ModuleDict, step: int) -> float:
    """Compute the gradients of a loss of this step, which is returned."""
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
    for name in ("stem", "layers.0", "norm", "out"):
        values = parts.get_submodule(name)(values).tanh()
    loss = values.square().sum()
    loss.backward()
    return loss.item()


def train(parts: nn.ModuleDict, optimizer: Optimizer, schedule: WarmUpMultiStepLR, steps: range) -> dict[str, Tensor]:
    """Weights after these steps."""
    schedule.begin(3)
    for step in steps:

        def closure(step: int = step) -> float:
            optimizer.zero_grad()
            return run_backward(parts, step)

        optimizer.step(closure)
        schedule.step()
    return {name: value.clone() for name, value in parts.state_dict().items()}


def made(parts: nn.Module, make: Callable[..., Optimizer] = JOINT) -> tuple[Optimizer, WarmUpMultiStepLR]:
    optimizer = make(groups_of(parts))
    return optimizer, SCHEDULE(optimizer)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_each_part_learns_as_with_its_own_optimizer_alone() -> None:
    parts, twin = model(), model()
    found = train(parts, *made(parts), range(6))
    groups = groups_of(twin)
    is_own = [group["name"].startswith(("layers", "norm")) for group in groups]
    own = OWN([group for group, chosen in zip(groups, is_own, strict=True) if chosen])
    rest = REST([group for group, chosen in zip(groups, is_own, strict=True) if not chosen])
    rates = [group["lr"] for group in groups]
    clipped = [*twin["layers"].parameters(), *twin["norm"].parameters()]
    for step, factor in enumerate((0.25, 0.625, 1.0, 1.0, 0.1, 0.1)):
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * factor
        twin.zero_grad()
        run_backward(twin, step)
        assert clip_grad_norm_(clipped, MAX_NORM) > MAX_NORM  # or the test shows nothing
        own.step()
        rest.step()
    torch.testing.assert_close(found, twin.state_dict())


@pytest.mark.parametrize("num_steps", range(6))
def test_a_training_that_is_killed_goes_on_to_the_last_bit(num_steps: int, caplog: pytest.LogCaptureFixture) -> None:
    whole = model()
    expected = train(whole, *made(whole), range(7))
    parts = model()
    optimizer, schedule = made(parts)
    train(parts, optimizer, schedule, range(num_steps))
    file = io.BytesIO()
    states = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [schedule.state_dict()]}
    torch.save({"weights": parts.state_dict(), "global_step": num_steps, **states}, file)
    checkpoint = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again = model()
    again.load_state_dict(checkpoint["weights"])
    continue_optimization(checkpoint, *made(again), interval="step")
    optimizer, schedule = made(again)
    optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    schedule.load_state_dict(checkpoint["lr_schedulers"][0])
    assert_same(train(again, optimizer, schedule, range(num_steps, 7)), expected)
    assert not caplog.records


def continued(before: Callable[..., Optimizer], after: Callable[..., Optimizer]) -> Optimizer:
    """The optimizer of a training of two steps that goes on with another one, after a step."""
    parts = model()
    optimizer, schedule = made(parts, before)
    train(parts, optimizer, schedule, range(2))
    checkpoint: dict[str, Any] = {"optimizer_states": [optimizer.state_dict()], "global_step": 2}
    continue_optimization(checkpoint, *made(parts, after), interval="step")
    optimizer, schedule = made(parts, after)
    optimizer.load_state_dict(checkpoint["optimizer_states"][0])
    assert len(optimizer.state) in (0, len(list(parts.parameters())))
    has_state = bool(optimizer.state)
    train(parts, optimizer, schedule, range(2, 3))
    if not has_state:
        assert not any(state["step"] > 1 for state in optimizer.state.values() if "step" in state)
    return optimizer


def test_moments_stay_where_settings_of_one_of_both_change(caplog: pytest.LogCaptureFixture) -> None:
    optimizer = continued(JOINT, partial(JOINT, rest=partial(SGD, momentum=0.5)))
    assert {state["step"].item() for state in optimizer.state.values() if "step" in state} == {3}
    assert {group["momentum"] for group in optimizer.param_groups if "momentum" in group} == {0.5}
    assert not caplog.records


@pytest.mark.parametrize(("before", "after"), [(REST, JOINT), (JOINT, OWN)], ids=["to both", "to one"])
def test_all_start_without_a_state_where_some_need_another_one(
    before: Callable[..., Optimizer], after: Callable[..., Optimizer], caplog: pytest.LogCaptureFixture
) -> None:
    continued(before, after)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "needs another state than the checkpoint holds: it starts without any" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": ["layers", "tail"]}, r"optimizer\.make\.parts must be entries of .*lr_factors .*, got tail"),
        ({"parts": []}, r"optimizer\.make\.parts must be entries .*, got none"),
        ({"parts": "layers"}, r"optimizer\.make\.parts must be a list"),
        ({"max_norm": 0}, r"optimizer\.make\.max_norm must be above 0, or null"),
        ({"own": 3}, r"optimizer\.make\.own must be something to call"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JOINT(groups_of(model()), **changes)
