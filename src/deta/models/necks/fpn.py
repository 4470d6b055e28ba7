"""The feature pyramid network: levels of one width, each with what coarser maps know."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from deta.utils.checks import require_bool, require_choice, require_int

EXTRA = ("p5", "c5", "lateral", "pool")


class FPN(nn.Module):
    """Lateral 1x1 convolutions, a sum from coarse to fine, 3x3 convolutions; without norms as published.

    Source: arXiv:1612.03144, sec. 3; levels beyond the backbone's maps: arXiv:1708.02002, sec. 4.

    Args:
        in_channels: Channels of the backbone maps, finest first.
        hidden_dim: Channels of every level.
        num_levels: Levels to return, at least one per backbone map.
        extra: What the first level beyond the maps is made of, by a convolution of stride 2: the coarsest output
            ``p5``, the backbone's coarsest map ``c5`` or its ``lateral`` convolution. ``pool``: every second cell of
            the level before, without weights.
        extra_relu: Whether further levels beyond are made of the ReLU of the level before.
        norm: ``batch``: a batch norm behind every convolution of the backbone's maps, which has no bias then, as in
            torchvision's second Faster R-CNN; ``extra_batch``: one behind those of levels beyond, which keep theirs, as
            in TSP-RCNN; or ``none``.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        hidden_dim: int,
        num_levels: int,
        extra: str = "p5",
        extra_relu: bool = True,
        norm: str = "none",
    ) -> None:
        super().__init__()
        in_channels = tuple(require_int("in_channels", channels, low=1) for channels in in_channels)
        self.hidden_dim = require_int("hidden_dim", hidden_dim, low=1)
        self.num_levels = require_int("num_levels", num_levels, low=1)
        self.extra = require_choice("extra", extra, EXTRA)
        self.extra_relu = require_bool("extra_relu", extra_relu)
        if not 0 < len(in_channels) <= num_levels:
            raise ValueError(
                f"model.neck.num_levels must be at least the number of maps of model.backbone, and there must be one: "
                f"got {num_levels} levels and maps of {list(in_channels)} channels"
            )
        has_norm = require_choice("model.neck.norm", norm, ("none", "batch", "extra_batch")) == "batch"
        self.laterals = nn.ModuleList(
            _maybe_normed(nn.Conv2d(channels, hidden_dim, 1, bias=not has_norm), has_norm) for channels in in_channels
        )
        self.outputs = nn.ModuleList(
            _maybe_normed(nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, bias=not has_norm), has_norm)
            for _ in in_channels
        )
        widths = [in_channels[-1] if extra == "c5" else hidden_dim, *[hidden_dim] * num_levels]
        num_extra = 0 if extra == "pool" else num_levels - len(in_channels)
        self.extras = nn.ModuleList(
            _maybe_normed(nn.Conv2d(width, hidden_dim, 3, stride=2, padding=1), norm == "extra_batch")
            for width in widths[:num_extra]
        )
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.xavier_uniform_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of every level."""
        return (self.hidden_dim,) * self.num_levels

    def strides(self, of_maps: Sequence[int]) -> tuple[int, ...]:
        """Pixels per cell of every level, from those of the backbone's maps."""
        num_extra = self.num_levels - len(of_maps)
        return (*of_maps, *(of_maps[-1] * 2 ** (level + 1) for level in range(num_extra)))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``[B, D, h, w]`` of every level from ``[B, in_channels, h, w]`` of every backbone map."""
        laterals = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        summed = laterals[-1:]
        for lateral in laterals[-2::-1]:
            summed.insert(0, lateral + functional.interpolate(summed[0], size=lateral.shape[-2:], mode="nearest"))
        levels = [output(level) for output, level in zip(self.outputs, summed, strict=True)]
        sources = {"p5": levels[-1], "c5": features[-1], "lateral": laterals[-1]}
        for place, convolution in enumerate(self.extras):
            source = sources[self.extra] if place == 0 else levels[-1]
            levels.append(convolution(source.relu() if place and self.extra_relu else source))
        while len(levels) < self.num_levels:
            levels.append(levels[-1][..., ::2, ::2])
        return levels


def _maybe_normed(convolution: nn.Conv2d, has_norm: bool) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels)) if has_norm else convolution
