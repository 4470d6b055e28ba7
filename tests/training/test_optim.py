"""Which parameters learn at which rate."""

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from deta.training.optim import parameter_groups

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
