"""Which parameters learn at which rate."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.optim import Optimizer

from deta.training.optim import PARAMETER_NAMES, parameter_groups, parameter_kinds, with_fused_step

FACTORS = {"backbone": 0.1, "sampling_offsets": 0.5}


def parameters(**is_trained: bool) -> dict[str, nn.Parameter]:
    """One parameter per name; a double underscore stands for a dot."""
    return {
        name.replace("__", "."): nn.Parameter(torch.zeros(1), requires_grad=requires_grad)
        for name, requires_grad in is_trained.items()
    }


def rates(named: Mapping[str, nn.Parameter], *, lr: float, lr_factors: Mapping[str, float]) -> dict[str, float]:
    """The learning rate of every parameter that is in a group."""
    names = {id(parameter): name for name, parameter in named.items()}
    groups = parameter_groups(named.items(), lr=lr, lr_factors=lr_factors)
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_a_component_of_the_name_decides_the_rate() -> None:
    named = parameters(backbone__body__weight=True, decoder__sampling_offsets__bias=True, heads__weight=True)
    found = rates(named, lr=0.2, lr_factors=FACTORS)
    assert found == pytest.approx(
        {"backbone.body.weight": 0.02, "decoder.sampling_offsets.bias": 0.1, "heads.weight": 0.2}
    )


def test_a_part_of_a_component_decides_nothing() -> None:
    named = parameters(my_backbone__weight=True, backbones__weight=True)
    assert set(rates(named, lr=0.2, lr_factors=FACTORS).values()) == {0.2}


def test_the_first_entry_that_fits_wins() -> None:
    named = parameters(backbone__sampling_offsets__weight=True)
    assert rates(named, lr=1.0, lr_factors=FACTORS) == {"backbone.sampling_offsets.weight": 0.1}
    swapped = dict(reversed(FACTORS.items()))
    assert rates(named, lr=1.0, lr_factors=swapped) == {"backbone.sampling_offsets.weight": 0.5}


def test_frozen_parameters_are_in_no_group() -> None:
    named = parameters(backbone__stem__weight=False, heads__weight=True)
    assert set(rates(named, lr=1.0, lr_factors=FACTORS)) == {"heads.weight"}


def test_groups_have_the_names_of_their_factors_and_no_group_is_empty() -> None:
    named = parameters(heads__weight=True, backbone__weight=True, heads__bias=True)
    groups = parameter_groups(named.items(), lr=1.0, lr_factors={**FACTORS, "reference_points": 0.1})
    assert [group["name"] for group in groups] == ["base", "backbone"]
    assert [len(group["params"]) for group in groups] == [2, 1]


def test_a_factor_of_zero_keeps_the_parameters_in_place() -> None:
    named = parameters(backbone__weight=True, heads__weight=True)
    optimizer = torch.optim.SGD(parameter_groups(named.items(), lr=1.0, lr_factors={"backbone": 0.0}))
    for parameter in named.values():
        parameter.grad = torch.ones(1)
    optimizer.step()
    assert {name: parameter.item() for name, parameter in named.items()} == {
        "backbone.weight": 0.0,
        "heads.weight": -1.0,
    }


@pytest.mark.parametrize(
    ("lr", "factor", "message"),
    [
        (-1.0, 0.1, r"optimizer.lr must be at least 0, got -1.0"),
        ("fast", 0.1, r"optimizer.lr must be a number, got 'fast'"),
        (1.0, -0.1, r"optimizer.lr_factors.backbone must be at least 0, got -0.1"),
        (1.0, float("nan"), r"optimizer.lr_factors.backbone must be finite"),
    ],
)
def test_a_wrong_rate_is_named(lr: float, factor: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameter_groups([], lr=lr, lr_factors={"backbone": factor})


def block() -> nn.ModuleDict:
    """A backbone of a convolution and a norm, and a head of a layer and a number."""
    backbone = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    head = nn.Sequential(nn.Conv2d(1, 2, 1), nn.GroupNorm(1, 2), nn.PReLU())
    return nn.ModuleDict({"backbone": backbone, "head": head, "attention": nn.MultiheadAttention(2, 1)})


def test_kinds_are_those_of_the_modules_whatever_their_names_and_shapes() -> None:
    assert parameter_kinds(block()) == {
        "backbone.1.weight": "norm",
        "backbone.1.bias": "shift",
        "head.0.bias": "bias",
        "head.1.weight": "norm",
        "head.1.bias": "shift",
        "attention.in_proj_bias": "bias",
        "attention.out_proj.bias": "bias",
    }
    assert parameter_kinds(nn.LayerNorm(2)) == {"weight": "norm", "bias": "shift"}


def test_a_kind_decays_by_its_own_weight_and_all_else_by_that_of_the_optimizer() -> None:
    model = block()
    groups = parameter_groups(
        model.named_parameters(),
        lr=1.0,
        lr_factors={"backbone": 0.1},
        weight_decays={"norm": 0.0, "bias": 0.5},
        kinds=parameter_kinds(model),
    )
    optimizer = torch.optim.SGD(groups, weight_decay=0.25)
    found = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found == {
        "backbone": (0.1, 0.25),
        "backbone/norm": (0.1, 0.0),
        "base": (1.0, 0.25),
        "base/bias": (1.0, 0.5),
        "base/norm": (1.0, 0.0),
    }
    names = {group["name"]: group[PARAMETER_NAMES] for group in groups}
    assert names["backbone/norm"] == ["backbone.1.weight", "backbone.1.bias"]
    assert names["base"] == ["head.0.weight", "head.2.weight", "attention.in_proj_weight", "attention.out_proj.weight"]


def test_a_shift_has_settings_of_its_own_or_those_of_norms() -> None:
    model = block()
    groups = parameter_groups(
        model.named_parameters(),
        lr=1.0,
        lr_factors={"backbone": 0.5},
        weight_decays={"shift": 0.0, "bias": 0.0},
        kind_factors={"norm": 4.0, "bias": 2.0},
        kinds=parameter_kinds(model),
    )
    optimizer = torch.optim.SGD(groups, weight_decay=0.25)
    found = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found == {
        "backbone": (0.5, 0.25),
        "backbone/norm": (2.0, 0.25),
        "backbone/shift": (2.0, 0.0),
        "base": (1.0, 0.25),
        "base/bias": (2.0, 0.0),
        "base/norm": (4.0, 0.25),
        "base/shift": (4.0, 0.0),
    }


def test_without_weight_decays_groups_are_those_of_rates_alone() -> None:
    model = block()
    plain = parameter_groups(model.named_parameters(), lr=1.0, lr_factors=FACTORS)
    told = parameter_groups(model.named_parameters(), lr=1.0, lr_factors=FACTORS, kinds=parameter_kinds(model))
    assert [(group["name"], group[PARAMETER_NAMES]) for group in told] == [
        (group["name"], group[PARAMETER_NAMES]) for group in plain
    ]
    assert all(group.keys() == {"params", "lr", "name", PARAMETER_NAMES} for group in told)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norms": 0.0}, r": each key must be one of bias, norm, shift, got 'norms'"),
        ({"norm": -1.0}, r"\.norm must be at least 0, got -1.0"),
        ({"bias": "none"}, r"\.bias must be a number, got 'none'"),
    ],
)
@pytest.mark.parametrize("option", ["weight_decays", "kind_factors"])
def test_a_wrong_setting_of_a_kind_is_named(option: str, settings: dict[str, float], message: str) -> None:
    told: dict[str, Mapping[str, float]] = {"weight_decays": {}, "kind_factors": {}, option: settings}
    with pytest.raises(ValueError, match=rf"optimizer\.{option}{message}"):
        parameter_groups([], lr=1.0, weight_decays=told["weight_decays"], kind_factors=told["kind_factors"])


def stepped(optimizer: Optimizer, parameter: nn.Parameter, numbers: range) -> None:
    """Steps with a gradient of their own each."""
    for number in numbers:
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
        optimizer.step()


def adamw(parameter: nn.Parameter, *, fused: bool | None) -> Optimizer:
    """As a training makes it."""
    return with_fused_step(partial(torch.optim.AdamW, lr=0.1), fused)([{"params": [parameter]}])


def test_a_fused_step_is_the_same_step() -> None:
    first, second = nn.Parameter(torch.ones(50)), nn.Parameter(torch.ones(50))
    for parameter, fused in ((first, False), (second, True)):
        stepped(adamw(parameter, fused=fused), parameter, range(4))
    torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def test_a_fused_training_goes_on_bit_by_bit() -> None:
    whole, halves = nn.Parameter(torch.ones(50)), nn.Parameter(torch.ones(50))
    stepped(adamw(whole, fused=True), whole, range(4))
    before = adamw(halves, fused=True)
    stepped(before, halves, range(2))
    after = adamw(halves, fused=True)
    after.load_state_dict(deepcopy(before.state_dict()))
    stepped(after, halves, range(2, 4))
    assert torch.equal(whole, halves)


def test_a_fused_optimizer_leaves_clipping_to_the_training() -> None:
    optimizer = adamw(nn.Parameter(torch.ones(2)), fused=True)
    assert optimizer.defaults["fused"] is True
    MixedPrecision("bf16-mixed", "cpu").clip_gradients(optimizer, 0.1)  # which refuses one that undoes scaling itself


def test_a_cpu_has_no_fused_step_unless_told() -> None:
    assert adamw(nn.Parameter(torch.ones(2)), fused=None).defaults["fused"] is None


def test_a_fused_step_is_refused_where_the_optimizer_has_none() -> None:
    with pytest.raises(ValueError, match=r"optimizer\.fused=true needs .* torch\.optim\.AdamW"):
        with_fused_step(torch.optim.RMSprop, True)
    parameter = nn.Parameter(torch.ones(2))
    assert isinstance(with_fused_step(torch.optim.RMSprop, None)([{"params": [parameter]}]), torch.optim.RMSprop)


@pytest.mark.gpu
def test_a_gpu_has_a_fused_step_unless_told_otherwise() -> None:
    parameter = nn.Parameter(torch.ones(2, device="cuda"))
    assert adamw(parameter, fused=None).defaults["fused"] is True
    assert not adamw(parameter, fused=False).defaults["fused"]
