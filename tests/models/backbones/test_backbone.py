"""Norms whose statistics are fixed."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from deta.models.backbones.backbone import FrozenNorm, freeze_batch_norms


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
