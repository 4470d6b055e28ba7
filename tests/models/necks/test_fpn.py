"""The feature pyramid network."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deta.models import FPN

MAPS = (torch.randn(2, 8, 10, 13), torch.randn(2, 16, 5, 7))


def fpn(num_levels: int = 4, extra: str = "p5", *, extra_relu: bool = True) -> FPN:
    return FPN(in_channels=[8, 16], hidden_dim=12, num_levels=num_levels, extra=extra, extra_relu=extra_relu)


@pytest.mark.parametrize("extra", ["p5", "c5", "lateral", "pool"])
def test_levels_beyond_the_backbone_halve_the_last_one(extra: str) -> None:
    neck = fpn(extra=extra)
    shapes = [tuple(level.shape) for level in neck(MAPS)]
    assert shapes == [(2, 12, 10, 13), (2, 12, 5, 7), (2, 12, 3, 4), (2, 12, 2, 2)]
    assert neck.channels == (12,) * 4
    assert neck.strides((8, 16)) == (8, 16, 32, 64)


def test_a_fine_level_adds_what_the_coarse_lateral_map_says_of_the_same_place() -> None:
    neck = fpn(2)
    coarse = neck.laterals[1](MAPS[1])
    rows, columns = torch.arange(10) // 2, torch.arange(13) * 7 // 13
    expected = neck.outputs[0](neck.laterals[0](MAPS[0]) + coarse[:, :, rows][..., columns])
    torch.testing.assert_close(neck(MAPS)[0], expected)


@pytest.mark.parametrize(("extra", "place"), [("p5", "outputs.1"), ("c5", None), ("lateral", "laterals.1")])
def test_the_first_level_beyond_is_made_of_what_was_asked_for(extra: str, place: str | None) -> None:
    neck = fpn(extra=extra)
    seen: dict[str, Tensor] = {}
    for name in ("outputs.1", "laterals.1"):
        neck.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    levels = neck(MAPS)
    torch.testing.assert_close(levels[2], neck.extras[0](MAPS[1] if place is None else seen[place]))
    torch.testing.assert_close(levels[3], neck.extras[1](levels[2].relu()))


def test_further_levels_may_be_made_without_relu_and_pooling_takes_every_second_cell() -> None:
    neck = fpn(extra_relu=False)
    levels = neck(MAPS)
    torch.testing.assert_close(levels[3], neck.extras[1](levels[2]))
    levels = fpn(extra="pool")(MAPS)
    assert torch.equal(levels[2], functional.max_pool2d(levels[1], 1, 2))


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 levels and maps of"):
        fpn(1)
    with pytest.raises(ValueError, match="extra must be one of c5, lateral, p5, pool, got 'p6'"):
        fpn(extra="p6")
