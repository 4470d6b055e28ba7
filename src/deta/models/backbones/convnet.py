"""A small residual network with group norms, made to be trained from scratch on small images."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from deta.models.backbones.backbone import Backbone
from deta.utils.checks import require_int

STEM_STRIDE = 4


class ConvBackbone(Backbone):
    """Two stride-2 convolutions, then stages of residual blocks at strides 8, 16, ...

    Group norms do not depend on the batch size, and train at once without pretrained weights (arXiv:1803.08494).

    Args:
        channels: Channels of every stage; each is returned.
        num_blocks: Residual blocks of each stage.
        stem_channels: Channels at strides 2 and 4.
    """

    body: nn.ModuleList

    def __init__(
        self, *, channels: Sequence[int] = (48, 96, 128), num_blocks: int = 2, stem_channels: int = 32
    ) -> None:
        super().__init__()
        require_int("backbone.num_blocks", num_blocks, low=1)
        require_int("backbone.stem_channels", stem_channels, low=1)
        self.channels = tuple(require_int("backbone.channels", width, low=1) for width in channels)
        self.strides = tuple(STEM_STRIDE * 2 ** (stage + 1) for stage in range(len(self.channels)))
        stem = (*_convolution(3, stem_channels, 2), *_convolution(stem_channels, stem_channels, 2))
        widths = (stem_channels, *self.channels)
        stages = [_stage(before, width, num_blocks) for before, width in pairwise(widths)]
        self.body = nn.ModuleList([nn.Sequential(*stem), *stages])

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of every stage behind the stem, finest first."""
        maps = [images]
        for stage in self.body:
            maps.append(stage(maps[-1]))
        return maps[2:]  # without the image and the stem


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity, or a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(before, after, stride))
        self.second = nn.Sequential(*_convolution(after, after, 1)[:-1])
        has_same_shape = before == after and stride == 1
        self.shortcut = nn.Identity() if has_same_shape else nn.Conv2d(before, after, 1, stride=stride, bias=False)

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, before, H, W]`` to ``[B, after, H/stride, W/stride]``, rounded up."""
        change: Tensor = self.second(self.first(feature))
        output: Tensor = (change + self.shortcut(feature)).relu()
        return output


def _stage(before: int, after: int, num_blocks: int) -> nn.Sequential:
    rest = [ResidualBlock(after, after, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(ResidualBlock(before, after, 2), *rest)


def _convolution(before: int, after: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.GroupNorm(math.gcd(after, 8), after), nn.ReLU()
