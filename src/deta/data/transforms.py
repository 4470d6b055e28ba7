"""Augmentation of samples: flip, resize and crop of the image together with its boxes.

Source: arXiv:2005.12872, sec. 4 (DETR's multi-scale training and random crop), as used by arXiv:2212.06137.
Differs: every draw comes from a generator that belongs to the sample, and the annotated areas stay in
pixels of the original image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812

from deta.data.sample import Sample
from deta.utils.checks import require_callable, require_choice, require_int, require_list, require_number

_MIN_SIDE = 2
"""Smallest side of a resized image, in pixels: torch resizes uint8 to a width of 1 wrongly (2.15)."""


class Transform(Protocol):
    """Maps a sample to a sample; all randomness comes from ``generator``."""

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the changed sample."""


class Compose:
    """Transforms one after the other; an empty list changes nothing.

    Args:
        transforms: Applied in this order.
    """

    def __init__(self, *, transforms: Sequence[Transform]) -> None:
        self._transforms = _require_transforms(transforms)

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the sample after every transform."""
        for transform in self._transforms:
            sample = transform(sample, generator)
        return sample


class RandomChoice:
    """One of several transforms, all equally likely.

    Args:
        transforms: At least one.
    """

    def __init__(self, *, transforms: Sequence[Transform]) -> None:
        if not transforms:
            raise ValueError("transforms must name at least one transform to choose from, got none")
        self._transforms = _require_transforms(transforms)

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the sample after the chosen transform."""
        return self._transforms[_draw(0, len(self._transforms) - 1, generator)](sample, generator)


def _require_transforms(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    for index, transform in enumerate(require_list("transforms", transforms)):
        require_callable(f"transforms[{index}]", transform)
    return tuple(transforms)


class RandomHorizontalFlip:
    """Mirror left and right.

    Args:
        probability: Chance to mirror, 0..1.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self._probability = require_number("probability", probability, low=0, high=1)

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the sample or its mirror image."""
        is_flipped = torch.rand((), generator=generator).item() < self._probability
        return flip(sample) if is_flipped else sample


class ResizeShortSide:
    """Scale so that the short side has a given length, the long side at most another.

    Args:
        short_sides: Lengths in pixels, one of which is drawn; a single one makes the transform deterministic.
        max_long_side: Longest long side in pixels; where it binds, the short side gets shorter than asked.
            None sets no limit.
        style: Rounding of sides and filter of pixels: ``detr``, or ``torchvision`` as its detectors see images.
    """

    def __init__(self, *, short_sides: Sequence[int], max_long_side: int | None = None, style: str = "detr") -> None:
        if not require_list("short_sides", short_sides):
            raise ValueError("short_sides must name at least one length, got none")
        self._short_sides = tuple(require_int("short_sides", side, low=_MIN_SIDE) for side in short_sides)
        self._max_long_side = (
            None if max_long_side is None else require_int("max_long_side", max_long_side, low=_MIN_SIDE)
        )
        self._is_detr = require_choice("style", style, ("detr", "torchvision")) == "detr"

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the scaled sample."""
        short_side = self._short_sides[_draw(0, len(self._short_sides) - 1, generator)]
        size_of = scaled_size if self._is_detr else floored_size
        return resize(sample, size_of(sample.size, short_side, self._max_long_side), antialias=self._is_detr)


class RandomSizeCrop:
    """Cut out a rectangle whose sides and position are drawn uniformly.

    Objects whose part inside the rectangle has no area are dropped, the boxes of others are cut.

    Args:
        min_side: Shortest side of the rectangle, in pixels; a shorter side of the image is kept whole.
        max_side: Longest side of the rectangle, in pixels.
    """

    def __init__(self, *, min_side: int, max_side: int) -> None:
        self._min_side = require_int("min_side", min_side, low=1)
        self._max_side = require_int("max_side", max_side, low=self._min_side)

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the part of the sample inside the drawn rectangle."""
        height, width = (self._draw_side(side, generator) for side in sample.size)
        top = _draw(0, sample.size[0] - height, generator)
        left = _draw(0, sample.size[1] - width, generator)
        return crop(sample, top=top, left=left, size=(height, width))

    def _draw_side(self, side: int, generator: Generator) -> int:
        return _draw(min(self._min_side, side), min(self._max_side, side), generator)


class LargeScaleJitter:
    """Scale by a factor from a wide range, and cut out at most a square.

    A picture that is smaller than the square stays so: a batch is padded.

    Source: arXiv:2012.07177, sec. 3, as torchvision trains its second Faster R-CNN.

    Args:
        size: Side of the square in pixels, into which a picture fits at a factor of 1.
        scale: Smallest and largest factor, above 0.
    """

    def __init__(self, *, size: int, scale: Sequence[float] = (0.1, 2.0)) -> None:
        self._size = require_int("size", size, low=_MIN_SIDE)
        self._scale = require_factors("scale", scale)

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Return the part of the scaled sample; both sides are cut at the same share of what is left over."""
        low, high = self._scale
        share, place = torch.rand(2, generator=generator).tolist()
        factor = min(self._size / side for side in sample.size) * (low + share * (high - low))
        height, width = (max(_MIN_SIDE, int(side * factor)) for side in sample.size)
        size = min(height, self._size), min(width, self._size)
        top, left = int((height - size[0]) * place), int((width - size[1]) * place)
        return crop(resize(sample, (height, width)), top=top, left=left, size=size)


def flip(sample: Sample) -> Sample:
    """Mirror a sample left and right."""
    width = sample.size[1]

    def mirror(boxes_xyxy: Tensor) -> Tensor:
        left, top, right, bottom = boxes_xyxy.unbind(-1)
        return torch.stack((width - right, top, width - left, bottom), dim=-1)

    return replace(
        sample,
        image=F.horizontal_flip(sample.image),
        boxes=mirror(sample.boxes),
        ignore_boxes=mirror(sample.ignore_boxes),
    )


def resize(sample: Sample, size: tuple[int, int], *, antialias: bool = True) -> Sample:
    """Scale a sample to ``(height, width)`` in pixels, bilinear; without ``antialias`` of four pixels alone."""
    height, width = size
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    scale = limits / torch.tensor([sample.size[1], sample.size[0]] * 2, dtype=torch.float32)
    # Without antialias, the filter of whole numbers is a grey level off.
    image = sample.image if antialias else sample.image.float()
    image = F.resize(image, [height, width], interpolation=InterpolationMode.BILINEAR, antialias=antialias)
    return replace(
        sample,
        image=image if antialias else image.round().to(sample.image.dtype),
        boxes=torch.minimum(sample.boxes * scale, limits),
        ignore_boxes=torch.minimum(sample.ignore_boxes * scale, limits),
    )


def crop(sample: Sample, *, top: int, left: int, size: tuple[int, int]) -> Sample:
    """The rectangle of ``size`` (height, width) at ``(top, left)``, in pixels.

    Boxes are clamped to it; objects and ignored areas without area after that are dropped.
    """
    height, width = size
    origin = torch.tensor([left, top, left, top], dtype=torch.float32)
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = torch.minimum((sample.boxes - origin).clamp(min=0), limits)
    ignore_boxes = torch.minimum((sample.ignore_boxes - origin).clamp(min=0), limits)
    is_kept = _has_area(boxes)
    return replace(
        sample,
        image=F.crop(sample.image, top, left, height, width),
        boxes=boxes[is_kept],
        labels=sample.labels[is_kept],
        areas=sample.areas[is_kept],
        ignore_boxes=ignore_boxes[_has_area(ignore_boxes)],
    )


def scaled_size(size: tuple[int, int], short_side: int, max_long_side: int | None) -> tuple[int, int]:
    """``(height, width)`` with the given short side, or a smaller one if the long side would pass its limit.

    Rounding as in DETR: the limit rounds the short side to the nearest pixel, the long side rounds down.
    """
    height, width = size
    short, long = min(size), max(size)
    if max_long_side is not None and long / short * short_side > max_long_side:
        short_side = max(_MIN_SIDE, round(max_long_side * short / long))
    long_side = int(short_side * long / short)
    return (short_side, long_side) if height <= width else (long_side, short_side)


def floored_size(size: tuple[int, int], short_side: int, max_long_side: int | None) -> tuple[int, int]:
    """``(height, width)`` scaled so that one side reaches its length, both rounded down.

    As in torchvision's detectors; a factor that is rounded itself may leave that side a pixel short.
    """
    scale = short_side / min(size)
    if max_long_side is not None:
        scale = min(scale, max_long_side / max(size))
    height, width = (max(_MIN_SIDE, int(side * scale)) for side in size)
    return height, width


def _has_area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(dim=1)


def _draw(low: int, high: int, generator: Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator).item())


def require_factors(name: str, values: Sequence[float]) -> tuple[float, float]:
    """A smallest and a largest factor on sides.

    Raises:
        ValueError: They are not two, too small, or in the other order.
    """
    if len(require_list(name, values)) != 2:
        raise ValueError(f"{name} must be two factors, the smallest and the largest, got {values}")
    low = require_number(f"{name}[0]", values[0], low=0.01)
    return low, require_number(f"{name}[1]", values[1], low=low)
