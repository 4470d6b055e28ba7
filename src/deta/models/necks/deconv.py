"""The neck of CenterNet: the coarsest map becomes one fine level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from deta.utils.checks import require_bool, require_int


class DeconvNeck(nn.Module):
    """Pairs of a 3x3 convolution and a transposed one that doubles the map, with batch norms.

    Source: arXiv:1904.07850 (CenterNet), sec. 5; arXiv:1804.06208.

    Args:
        in_channels: Channels of the backbone maps, of which the coarsest is used.
        filters: Channels of every pair; each halves the stride.
        hidden_dim: Those of the last pair, where they are to be given by one number; None is the last of ``filters``.
        num_levels: Levels, 1.
        deformable: Whether the 3x3 convolutions say themselves where they look.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        filters: Sequence[int] = (256, 128, 64),
        hidden_dim: int | None = None,
        num_levels: int = 1,
        deformable: bool = False,
    ) -> None:
        super().__init__()
        widths = [require_int("model.neck.filters", width, low=1) for width in filters]
        if not widths or not in_channels:
            raise ValueError(f"model.neck needs a map and filters, got {list(in_channels)} and {list(filters)}")
        if num_levels != 1:
            raise ValueError(f"model.neck DeconvNeck makes one level, got model.neck.num_levels {num_levels}")
        if hidden_dim is not None:
            widths[-1] = require_int("model.neck.hidden_dim", hidden_dim, low=1)
        self.channels = (widths[-1],)
        convolution = DeformableConv2d if require_bool("model.neck.deformable", deformable) else nn.Conv2d
        layers: list[nn.Module] = []
        for inside, width in zip([in_channels[-1], *widths], widths, strict=False):
            layers.append(_block(convolution(inside, width, 3, padding=1, bias=False)))
            layers.append(_block(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False)))
        self.layers = nn.Sequential(*layers)

    def strides(self, of_maps: Sequence[int]) -> tuple[int, ...]:
        """Pixels per cell of the level.

        Raises:
            ValueError: The stride of the coarsest map cannot be halved so often.
        """
        times = 2 ** (len(self.layers) // 2)
        if of_maps[-1] % times:
            raise ValueError(f"model.neck.filters halve the stride {of_maps[-1]} of the backbone too often")
        return (of_maps[-1] // times,)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``[B, D, h, w]`` of the one level."""
        return [self.layers(features[-1])]


class DeformableConv2d(nn.Conv2d):
    """A convolution that draws from places beside its own and weighs each, as the map says at every cell.

    It starts at its own places, all with weight 0.5. Source: arXiv:1811.11168 (DCNv2), sec. 3.1, eq. 1.

    Args:
        in_channels: Of the map.
        out_channels: Of the result.
        kernel_size: Cells of a side.
        padding: Cells of zeros around the map.
        bias: Whether it has one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, padding: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, bias=bias)
        num_places = kernel_size**2
        # Of every place (dy, dx) in cells, then of every place the logit of its weight.
        self.conv_offset = nn.Conv2d(in_channels, 3 * num_places, kernel_size, padding=padding)
        nn.init.zeros_(self.conv_offset.weight)
        assert self.conv_offset.bias is not None
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """``[B, out_channels, h', w']`` float32 of ``[B, in_channels, h, w]``."""
        with torch.autocast(feature.device.type, enabled=False):  # the operator takes one type of numbers
            feature = feature.float()
            places = self.conv_offset(feature)
            offsets, weights = places.split((2 * places.shape[1] // 3, places.shape[1] // 3), dim=1)
            output: Tensor = deform_conv2d(
                feature, offsets, self.weight, self.bias, padding=self.padding, mask=weights.sigmoid()
            )
        return output


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())
