"""Shifts of the colours of a picture."""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from deta.data.sample import Sample
from deta.utils.checks import require_number


class ColourShift:
    """Add a drawn number to hue, saturation and brightness of all pixels, each with a chance of one half.

    Source: the code of arXiv:2107.08430 (YOLOX), in shares of the range in place of its whole numbers.

    Args:
        hue: Largest shift around the circle of colours, as a share of it, 0..0.5.
        saturation: Largest shift, 0..1.
        brightness: Largest shift, 0..1.

    Raises:
        ValueError: A value lies outside its range.
    """

    def __init__(self, *, hue: float = 5 / 180, saturation: float = 30 / 255, brightness: float = 30 / 255) -> None:
        self._largest = torch.tensor(
            [
                require_number("hue", hue, low=0, high=0.5),
                require_number("saturation", saturation, low=0, high=1),
                require_number("brightness", brightness, low=0, high=1),
            ]
        )

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the sample with other colours; boxes stay."""
        shift = (2 * torch.rand(3, generator=generator) - 1) * self._largest
        is_used = torch.rand(3, generator=generator) < 0.5
        return replace(sample, image=shifted(sample.image, torch.where(is_used, shift, 0.0)))


def shifted(image: Tensor, shift: Tensor) -> Tensor:
    """An image whose hue, saturation and brightness are moved.

    torchvision moves hue alone by a sum and the others by factors; its conversions are private.

    Args:
        image: ``[3, h, w]`` uint8 RGB.
        shift: ``[3]`` added to them, each in 0..1; hue goes round, the others stop at their ends.

    Returns:
        ``[3, h, w]`` uint8.
    """
    pixels = image.float() / 255
    brightness, largest = pixels.max(0)  # [h, w] each
    spread = brightness - pixels.amin(0)
    red, green, blue = pixels / spread.clamp(min=1e-6)
    hue = torch.stack((green - blue, blue - red + 2, red - green + 4)).gather(0, largest[None])[0] / 6
    hue = (torch.where(spread > 0, hue, 0.0) + shift[0]) % 1
    saturation = (spread / brightness.clamp(min=1e-6) + shift[1]).clamp(0, 1)
    brightness = (brightness + shift[2]).clamp(0, 1)
    # HSV by its definition: a channel is full in a third of the circle and falls off linearly on both sides of it.
    place = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + 6 * hue) % 6  # [3, h, w]
    channels = brightness * (1 - saturation * torch.minimum(place, 4 - place).clamp(0, 1))
    return (255 * channels).round().to(torch.uint8)
