"""The path aggregation network of YOLOX: levels learn from coarser ones, then from finer ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deta.models.cross_stage import PartialBlock, conv_norm
from deta.utils.checks import require_int


class PAFPN(nn.Module):
    """Cross-stage partial blocks from coarse to fine and back, over three maps, each keeping its width.

    Source: arXiv:2107.08430 (YOLOX), release; arXiv:1803.01534 (path aggregation).

    Args:
        in_channels: Channels of the three backbone maps, finest first, each stride twice the one before.
        num_blocks: Bottlenecks of each of the four partial blocks.
        num_levels: Levels, 3.
    """

    def __init__(self, *, in_channels: Sequence[int], num_blocks: int = 3, num_levels: int = 3) -> None:
        super().__init__()
        if len(in_channels) != 3 or num_levels != 3:
            raise ValueError(
                f"model.neck PAFPN makes three levels of three maps of the backbone, got model.neck.num_levels "
                f"{num_levels} and in_channels {list(in_channels)}"
            )
        require_int("neck.num_blocks", num_blocks, low=0)
        fine, middle, coarse = (require_int("in_channels", channels, low=1) for channels in in_channels)
        self.channels = (fine, middle, coarse)
        self.from_coarse = conv_norm(coarse, middle, 1)
        self.middle_down = PartialBlock(2 * middle, middle, num_blocks)
        self.from_middle = conv_norm(middle, fine, 1)
        self.fine = PartialBlock(2 * fine, fine, num_blocks)
        self.to_middle = conv_norm(fine, fine, 3, stride=2)
        self.middle = PartialBlock(2 * fine, middle, num_blocks)
        self.to_coarse = conv_norm(middle, middle, 3, stride=2)
        self.coarse = PartialBlock(2 * middle, coarse, num_blocks)

    def strides(self, of_maps: Sequence[int]) -> tuple[int, ...]:
        """Pixels per cell of every level: those of the backbone's maps."""
        return tuple(of_maps)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``[B, channels, h, w]`` of every level from the backbone's maps."""
        fine, middle, coarse = features
        top = self.from_coarse(coarse)
        down = self.from_middle(self.middle_down(_beside(top, middle)))
        finest = self.fine(_beside(down, fine))
        between = self.middle(torch.cat((_fitted(self.to_middle(finest), down), down), dim=1))
        coarsest = self.coarse(torch.cat((_fitted(self.to_coarse(between), top), top), dim=1))
        return [finest, between, coarsest]


def _beside(coarse: Tensor, fine: Tensor) -> Tensor:
    """A coarser map, enlarged, with a finer one."""
    return torch.cat((functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest"), fine), dim=1)


def _fitted(feature: Tensor, like: Tensor) -> Tensor:
    """A halved map of the size of another; an odd side rounds differently on both ways."""
    return feature[..., : like.shape[-2], : like.shape[-1]]
