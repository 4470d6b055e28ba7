"""The neck of CenterNet: the coarsest map becomes one fine level."""

from collections.abc import Sequence

from torch import Tensor, nn

from deta.utils.checks import require_int


class DeconvNeck(nn.Module):
    """Pairs of a 3x3 convolution and a transposed one that doubles the map, with batch norms.

    Source: arXiv:1904.07850 (CenterNet), sec. 5, without its deformable convolutions; arXiv:1804.06208.

    Args:
        in_channels: Channels of the backbone maps, of which the coarsest is used.
        filters: Channels of every pair; each halves the stride.
        hidden_dim: Those of the last pair, where they are to be given by one number; None is the last of ``filters``.
        num_levels: Levels, 1.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        filters: Sequence[int] = (256, 128, 64),
        hidden_dim: int | None = None,
        num_levels: int = 1,
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
        layers: list[nn.Module] = []
        for inside, width in zip([in_channels[-1], *widths], widths, strict=False):
            layers.append(_block(nn.Conv2d(inside, width, 3, padding=1, bias=False)))
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


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())
