"""How pixels enter a network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deta.utils.checks import require_choice, require_int, require_number

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class InputConvention(nn.Module):
    """Order, range and padding of the pixels that a network was made for; the defaults are those of torchvision.

    It has neither parameters nor a state: a convention is not learnt.

    Args:
        order: Of the three channels, ``rgb`` or ``bgr``.
        scale: Value of full brightness before ``mean`` and ``std``: 1 or 255, above 0.
        mean: Of every channel, in the order and range of the network.
        std: Standard deviation of every channel, likewise.
        pad_value: Value on padding, after the normalisation.
        multiple: Height and width are padded to multiples of this, in pixels, from 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        order: str = "rgb",
        scale: float = 1.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        pad_value: float = 0.0,
        multiple: int = 1,
    ) -> None:
        super().__init__()
        self.order = require_choice("input.order", order, ("rgb", "bgr"))
        self.scale = require_number("input.scale", scale, low=1e-6)
        self.pad_value = require_number("input.pad_value", pad_value)
        self.multiple = require_int("input.multiple", multiple, low=1)
        self.register_buffer("mean", _per_channel("input.mean", mean, low=0.0), persistent=False)
        self.register_buffer("std", _per_channel("input.std", std, low=1e-6), persistent=False)

    def padded_side(self, side: int) -> int:
        """The smallest height or width that it lets in from ``side`` pixels on."""
        return -(-side // self.multiple) * self.multiple

    def forward(self, images: Tensor, is_padding: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Pad and normalise.

        Args:
            images: ``[B, 3, h, w]`` RGB, uint8 in 0..255 or floating point in 0..1.
            is_padding: ``[B, h, w]`` bool, True on padding.
            size: ``(H, W)`` to pad to, at the bottom and right.

        Returns:
            ``[B, 3, H, W]`` float32 as the network takes them, and ``[B, H, W]`` bool. Channels come last in memory:
            convolutions and pooling are faster so on CPU and GPU, and maps become tokens without a copy.
        """
        below, right = (side - own for side, own in zip(size, images.shape[-2:], strict=True))
        if below or right:
            images = functional.pad(images, (0, right, 0, below))
            is_padding = functional.pad(is_padding, (0, right, 0, below), value=True)
        normalised = self.normalise(images).masked_fill(is_padding[:, None], self.pad_value)
        return normalised.contiguous(memory_format=torch.channels_last), is_padding

    def normalise(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` float32 with zero mean and unit deviation where ``mean`` and ``std`` describe the images."""
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.scale != 1:
            scaled = scaled * self.scale
        if self.order == "bgr":
            scaled = scaled.flip(1)
        return (scaled - self.mean) / self.std


def _per_channel(name: str, values: Sequence[float], *, low: float) -> Tensor:
    checked = [require_number(name, value, low=low) for value in values]
    if len(checked) != 3:
        raise ValueError(f"{name} must have three numbers, one for each channel, got {list(values)}")
    return torch.tensor(checked).view(3, 1, 1)  # [3, 1, 1]
