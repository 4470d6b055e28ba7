"""The neck."""

import pytest
import torch

from deta.models import Neck


def features() -> list[torch.Tensor]:
    return [torch.randn(2, 8, 10, 13), torch.randn(2, 16, 5, 7)]


def test_levels_beyond_the_backbone_halve_the_last_one() -> None:
    neck = Neck(in_channels=[8, 16], hidden_dim=32, num_levels=4)
    shapes = [tuple(level.shape) for level in neck(features())]
    assert shapes == [(2, 32, 10, 13), (2, 32, 5, 7), (2, 32, 3, 4), (2, 32, 2, 2)]


def test_first_extra_level_comes_from_the_backbone_and_not_from_the_projection() -> None:
    neck = Neck(in_channels=[8, 16], hidden_dim=32, num_levels=3)
    maps = features()
    before = neck(maps)
    torch.nn.init.zeros_(neck.get_parameter("projections.1.0.weight"))
    after = neck(maps)
    assert not torch.equal(before[1], after[1])
    assert torch.equal(before[2], after[2])


def test_one_cell_maps_are_enough() -> None:
    neck = Neck(in_channels=[8], hidden_dim=64, num_levels=3).train()
    assert all(level.isfinite().all() for level in neck([torch.randn(1, 8, 1, 1)]))


def test_width_must_fit_the_norm() -> None:
    with pytest.raises(ValueError, match=r"hidden_dim must be a multiple of 32.*got 48"):
        Neck(in_channels=[8], hidden_dim=48, num_levels=1)


def test_with_fewer_levels_than_maps_the_coarsest_are_used() -> None:
    neck, maps = Neck(in_channels=[8, 16], hidden_dim=32, num_levels=1), features()
    (level,) = neck(maps)
    assert level.shape == (2, 32, 5, 7)
    assert neck.strides((8, 16)) == (16,)
    (other,) = neck([torch.zeros_like(maps[0]), maps[1]])
    assert torch.equal(level, other)


def test_a_level_without_norm_is_a_projection_of_any_width() -> None:
    neck, maps = Neck(in_channels=[16], hidden_dim=20, num_levels=1, norm="none"), features()[1:]
    assert {name for name, _ in neck.named_parameters()} == {"projections.0.0.weight", "projections.0.0.bias"}
    assert torch.allclose(neck([2 * maps[0]])[0] - neck(maps)[0], neck(maps)[0] - neck([0 * maps[0]])[0], atol=1e-5)
