"""The backbone of YOLOX."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deta.models import DarknetBackbone
from deta.models.releases.yolox import YOLOX, YOLOX_MMDETECTION


def darknet() -> DarknetBackbone:
    """A small one in evaluation, with norms at random."""
    torch.manual_seed(0)
    backbone = DarknetBackbone(stem_channels=4, num_blocks=1)
    with torch.no_grad():
        for values in backbone.state_dict().values():
            if values.dim() == 1:
                values.copy_(torch.rand_like(values) + 0.5)
    return backbone.eval()


class Published:
    """The network written out, layer by layer, from a state dict of the publication."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def block(self, name: str, feature: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.conv.weight"]
        feature = functional.conv2d(feature, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, variance, scale, shift = (
            self.state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.silu(functional.batch_norm(feature, mean, variance, scale, shift, eps=1e-3))

    def partial(self, name: str, feature: Tensor, num_blocks: int, *, adds: bool) -> Tensor:
        inner = self.block(f"{name}.conv1", feature)
        for number in range(num_blocks):
            change = self.block(f"{name}.m.{number}.conv2", self.block(f"{name}.m.{number}.conv1", inner))
            inner = inner + change if adds else change
        return self.block(f"{name}.conv3", torch.cat((inner, self.block(f"{name}.conv2", feature)), dim=1))

    def pooled(self, name: str, feature: Tensor) -> Tensor:
        narrow = self.block(f"{name}.conv1", feature)
        windows = [functional.max_pool2d(narrow, side, 1, side // 2) for side in (5, 9, 13)]
        return self.block(f"{name}.conv2", torch.cat([narrow, *windows], dim=1))

    def maps(self, images: Tensor) -> list[Tensor]:
        even, odd = images[..., ::2, :], images[..., 1::2, :]  # rows
        quarters = [even[..., ::2], odd[..., ::2], even[..., 1::2], odd[..., 1::2]]
        begin = "backbone.backbone."
        feature = self.block(f"{begin}stem.conv", torch.cat(quarters, dim=1))
        maps = []
        for stage, num_blocks in (("dark2", 1), ("dark3", 3), ("dark4", 3)):
            feature = self.block(f"{begin}{stage}.0", feature, stride=2)
            feature = self.partial(f"{begin}{stage}.1", feature, num_blocks, adds=True)
            maps.append(feature)
        feature = self.pooled(f"{begin}dark5.1", self.block(f"{begin}dark5.0", feature, stride=2))
        return [*maps[1:], self.partial(f"{begin}dark5.2", feature, 1, adds=False)]


def test_maps_are_those_of_the_network_written_out() -> None:
    backbone, images = darknet(), torch.rand(2, 3, 64, 96) * 255
    state = YOLOX.to_release({f"backbone.{name}": values for name, values in backbone.state_dict().items()})
    found, expected = backbone(images), Published(state).maps(images)
    for level, other in zip(found, expected, strict=True):
        torch.testing.assert_close(level, other)
    assert tuple(level.shape[1] for level in found) == backbone.channels
    assert [64 // level.shape[2] for level in found] == list(backbone.strides)


def test_every_norm_has_the_eps_and_momentum_of_the_publication() -> None:
    norms = [part for part in darknet().modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


def test_both_publications_name_the_same_parameters() -> None:
    own = {f"backbone.{name}": values for name, values in darknet().state_dict().items()}
    there = YOLOX_MMDETECTION.to_release(own)
    assert len(there) == len(own)
    back = YOLOX_MMDETECTION.from_release(there, own)
    assert all(torch.equal(back[name], values) for name, values in own.items())


@pytest.mark.parametrize(("side", "padded"), [(1, 2), (63, 64), (64, 64)])
def test_sides_are_even(side: int, padded: int) -> None:
    backbone = darknet()
    assert backbone.padded_side(side) == padded
    assert all(level.isfinite().all() for level in backbone(torch.zeros(1, 3, padded, padded)))
