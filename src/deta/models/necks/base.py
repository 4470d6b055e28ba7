"""What a detector asks of its neck."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Pyramid(Protocol):
    """Backbone maps to feature levels, finest first. A ``torch.nn.Module``."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of every level."""
        ...

    def strides(self, of_maps: Sequence[int]) -> tuple[int, ...]:
        """Pixels per cell of every level, from those of the backbone's maps."""
        ...

    def __call__(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``[B, channels, h, w]`` of every level from ``[B, in_channels, h, w]`` of every backbone map."""
        ...
