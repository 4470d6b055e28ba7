"""Norms whose statistics are fixed."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from deta.models.backbones.backbone import EvaluatedNorm, FrozenNorm, freeze_batch_norms, set_norm_eps


def trained_norm() -> nn.BatchNorm2d:
    """With statistics and weights at random."""
    norm = nn.BatchNorm2d(5, eps=1e-3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert isinstance(values, Tensor)
            values.copy_(torch.rand(5, generator=generator) + 0.1)
    return norm


def frozen(norm: nn.BatchNorm2d) -> nn.Module:
    """The frozen norm in its place."""
    network = nn.Sequential(copy.deepcopy(norm))
    freeze_batch_norms(network)
    return network[0]


def test_a_frozen_norm_is_the_norm_in_evaluation() -> None:
    norm, maps = trained_norm(), torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(frozen(norm)(maps), norm.eval()(maps), rtol=1e-6, atol=1e-6)


def test_an_evaluated_norm_keeps_its_statistics_in_training_and_trains_scale_and_shift() -> None:
    norm, maps = trained_norm(), torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(copy.deepcopy(norm))
    freeze_batch_norms(network, kind=EvaluatedNorm)
    before = {name: values.clone() for name, values in network.state_dict().items()}
    found = network.train()(maps)
    torch.testing.assert_close(found, norm.eval()(maps), rtol=0, atol=0)
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
    assert {name.removeprefix("0.") for name in before} == set(norm.state_dict())
    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == {"0.weight", "0.bias"}


def test_what_is_added_to_variances_can_be_nothing() -> None:
    norm, maps = trained_norm(), torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(copy.deepcopy(norm))
    set_norm_eps(network, 0.0)
    freeze_batch_norms(network)
    state = {name: values[:, None, None] for name, values in norm.state_dict().items() if values.dim()}  # [5, 1, 1]
    expected = (maps - state["running_mean"]) / state["running_var"].sqrt() * state["weight"] + state["bias"]
    torch.testing.assert_close(network(maps), expected)


def test_scale_and_shift_follow_the_state_that_is_loaded_and_are_no_part_of_it() -> None:
    norm, maps = trained_norm(), torch.ones(1, 5, 2, 2)
    later = FrozenNorm(5, eps=1e-3)
    assert set(later.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    nn.Sequential(later).load_state_dict({f"0.{name}": values for name, values in frozen(norm).state_dict().items()})
    assert torch.equal(later(maps), frozen(norm)(maps))
    for other in (copy.deepcopy(later), pickle.loads(pickle.dumps(later))):
        assert torch.equal(other(maps), later(maps))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_keep_their_type(dtype: torch.dtype) -> None:
    assert frozen(trained_norm())(torch.ones(1, 5, 2, 2, dtype=dtype)).dtype == dtype
