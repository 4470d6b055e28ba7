"""Feature maps as a neck hands them to a body."""

from dataclasses import dataclass

from torch import Tensor

from deta.structures.base import TensorStruct


@dataclass(frozen=True)
class Features(TensorStruct):
    """Feature maps of a batch, finest level first.

    Attributes:
        maps: ``[B, D, h, w]`` of every level; D may differ from level to level.
        is_padding: ``[B, h, w]`` bool of every level, True on padding.
        strides: Pixels from a cell to the next, of every level; known on the host.
        image_sizes: ``[B, 2]`` float32 ``(height, width)`` in pixels of the unpadded images as the network sees them.
        padded_size: ``(height, width)`` in pixels of the padded images, known on the host; None is that of the cells
            of the finest level.
    """

    maps: tuple[Tensor, ...]
    is_padding: tuple[Tensor, ...]
    strides: tuple[int, ...]
    image_sizes: Tensor
    padded_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        counts = {"maps": len(self.maps), "is_padding": len(self.is_padding), "strides": len(self.strides)}
        if len(set(counts.values())) > 1 or not self.maps:
            raise ValueError(f"Features must have a map, its padding and its stride for every level, got {counts}")
        for level, (feature, mask) in enumerate(zip(self.maps, self.is_padding, strict=True)):
            if (feature.shape[0], *feature.shape[2:]) != tuple(mask.shape):
                shapes = f"{tuple(feature.shape)} and {tuple(mask.shape)}"
                raise ValueError(f"Features.maps and is_padding of level {level} must have one size, got {shapes}")

    @property
    def spatial_shapes(self) -> tuple[tuple[int, int], ...]:
        """``(height, width)`` of every level in cells; known on the host."""
        return tuple((feature.shape[2], feature.shape[3]) for feature in self.maps)

    def padded(self) -> tuple[int, int]:
        """``(height, width)`` in pixels of the padded images."""
        if self.padded_size is not None:
            return self.padded_size
        height, width = self.spatial_shapes[0]
        return height * self.strides[0], width * self.strides[0]

    def frame(self) -> Tensor:
        """``[B, 4]`` pixels of the unit box, ``(width, height, width, height)``, see ``Prediction.frame``."""
        return self.image_sizes.flip(1).repeat(1, 2)
