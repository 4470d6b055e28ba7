"""The backbone of YOLOX: a Darknet of cross-stage partial blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deta.models.backbones.backbone import Backbone
from deta.models.cross_stage import PartialBlock, conv_norm
from deta.utils.checks import require_int

POOLED = (5, 9, 13)
"""Sides of the windows of spatial pyramid pooling, in cells (arXiv:2107.08430, release)."""


class DarknetBackbone(Backbone):
    """A stem that halves the image by taking it apart, and four stages of which the last three are returned.

    Source: arXiv:2107.08430 (YOLOX), release; arXiv:1911.11929 (CSPNet); arXiv:1406.4729 (spatial pyramid pooling).

    Args:
        stem_channels: Of the stem, doubled by every stage: 32 in YOLOX-s, 64 in YOLOX-l.
        num_blocks: Bottlenecks of the first and the last stage, those between have three times as many: 1 in YOLOX-s,
            3 in YOLOX-l.
    """

    body: "Darknet"
    multiple = 2

    def __init__(self, *, stem_channels: int = 64, num_blocks: int = 3) -> None:
        super().__init__()
        require_int("backbone.stem_channels", stem_channels, low=1)
        require_int("backbone.num_blocks", num_blocks, low=1)
        self.body = Darknet(stem_channels, (num_blocks, 3 * num_blocks, 3 * num_blocks, num_blocks))
        self.channels = (4 * stem_channels, 8 * stem_channels, 16 * stem_channels)
        self.strides = (8, 16, 32)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of the last three stages, finest first."""
        maps: list[Tensor] = self.body(images)
        return maps


class Darknet(nn.Module):
    """The stem and the stages; the last one pools before its block, whose bottlenecks add nothing."""

    def __init__(self, stem_channels: int, num_blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = conv_norm(4 * 3, stem_channels, 3)
        stages = []
        for stage, count in enumerate(num_blocks):
            width, is_last = stem_channels * 2 ** (stage + 1), stage == len(num_blocks) - 1
            pooling = [PyramidPooling(width)] if is_last else []
            block = PartialBlock(width, width, count, residual=not is_last)
            stages.append(nn.Sequential(conv_norm(width // 2, width, 3, stride=2), *pooling, block))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        """``[B, C, h, w]`` of all stages but the first."""
        corners = [images[..., row::2, column::2] for column in range(2) for row in range(2)]
        feature = self.stem(torch.cat(corners, dim=1))  # [B, D, H/2, W/2]
        maps = []
        for stage in self.stages:
            feature = stage(feature)
            maps.append(feature)
        return maps[1:]


class PyramidPooling(nn.Module):
    """The largest values of windows of several sides, beside the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels // 2, 1)
        self.last = conv_norm((1 + len(POOLED)) * (channels // 2), channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same shape."""
        narrow = self.first(feature)
        pooled = [functional.max_pool2d(narrow, side, stride=1, padding=side // 2) for side in POOLED]
        output: Tensor = self.last(torch.cat((narrow, *pooled), dim=1))
        return output
