"""The neck: backbone maps to feature levels of one width."""

from collections.abc import Sequence

from torch import Tensor, nn

from deta.utils.checks import require_bool, require_choice, require_int

NUM_GROUPS = 32
"""Groups of every GroupNorm (arXiv:2010.04159 and its release)."""


class Neck(nn.Module):
    """One projection per backbone map, then stride-2 convolutions for the levels beyond.

    The first extra level comes from the last backbone map, every further one from the level before it. With fewer
    levels than maps, the coarsest maps are used.
    Source: arXiv:2010.04159, appendix A.2; arXiv:2005.12872 (DETR), sec. 3.2, with one level and ``norm=none``.

    Args:
        in_channels: Channels of the backbone maps, finest first.
        hidden_dim: Channels of every level, with group norms a multiple of 32.
        num_levels: Levels to return.
        norm: Behind every projection: ``group`` or ``none``.
        bias: Whether projections have one.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        hidden_dim: int,
        num_levels: int,
        norm: str = "group",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = tuple(require_int("in_channels", channels, low=1) for channels in in_channels)
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        require_choice("norm", norm, ("group", "none"))
        require_bool("bias", bias)
        if norm == "group" and hidden_dim % NUM_GROUPS:
            raise ValueError(
                f"hidden_dim must be a multiple of {NUM_GROUPS}, the groups of the neck's GroupNorm, got {hidden_dim}"
            )
        if not self.in_channels:
            raise ValueError("in_channels must have the channels of at least one backbone map, got []")
        used = self.in_channels[-num_levels:]
        projections = [_projection(nn.Conv2d(channels, hidden_dim, 1, bias=bias), norm) for channels in used]
        for level in range(len(used), num_levels):
            channels = used[-1] if level == len(used) else hidden_dim
            convolution = nn.Conv2d(channels, hidden_dim, 3, stride=2, padding=1, bias=bias)
            projections.append(_projection(convolution, norm))
        self.projections = nn.ModuleList(projections)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of every level."""
        return (self.hidden_dim,) * self.num_levels

    def strides(self, of_maps: Sequence[int]) -> tuple[int, ...]:
        """Pixels per cell of every level, from those of the backbone's maps."""
        strides = list(of_maps[-self.num_levels :])
        for _ in range(len(strides), self.num_levels):
            strides.append(2 * strides[-1])
        return tuple(strides)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``[B, D, h, w]`` of every level from ``[B, in_channels, h, w]`` of every backbone map."""
        used = features[-self.num_levels :]
        maps = [projection(feature) for projection, feature in zip(self.projections, used, strict=False)]
        source = used[-1]
        for projection in self.projections[len(used) :]:
            source = projection(source)
            maps.append(source)
        return maps


def _projection(convolution: nn.Conv2d, norm: str) -> nn.Sequential:
    nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    if norm == "none":
        return nn.Sequential(convolution)
    return nn.Sequential(convolution, nn.GroupNorm(NUM_GROUPS, convolution.out_channels))
