"""Pictures made of several samples: a mosaic of four, turned and scaled, with a fifth laid over it.

Source: arXiv:2107.08430 (YOLOX), sec. 2.1, and its code; arXiv:2004.10934, sec. 3.3; arXiv:1710.09412.
Differs: every draw comes from the generator of the sample, the other samples included; edges of boxes are where those
of pixels are, without the half pixel of OpenCV; colours are left to other transforms, and all batches have one size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from deta.data.sample import Sample
from deta.data.transforms import Transform, crop, flip, require_factors, resize
from deta.utils.checks import require_callable, require_int, require_number

Others = Callable[[Generator], Sample]
"""Draws another sample of the data set, as file and annotations give it."""

FILL = 114
"""Grey of what no picture covers."""
_TRIES = 20
"""Samples that are drawn for one with objects."""


class Mosaic:
    """A square picture of four samples around a point, of which a part is turned, sheared, scaled and moved.

    Source: see the module. Without others, or from an epoch on, a sample is itself.

    Args:
        size: Side of the picture in pixels, from 32.
        then: What is done to the picture, or to the sample alone.
        until: First epoch without mosaic, counted from 0; None has it in all.
        scale: Smallest and largest factor on the mosaic, whose side is twice ``size``.
        degrees: Largest angle of the turn, 0..180.
        translate: Largest shift along each side, as a share of ``size``, 0..1.
        shear: Largest angle of the shear in degrees, 0..45.
        mixup: Smallest and largest factor on a further sample, half of which is mixed in; None mixes none.

    Raises:
        ValueError: A value lies outside its range.
    """

    def __init__(
        self,
        *,
        size: int,
        then: Transform,
        until: int | None = None,
        scale: Sequence[float] = (0.1, 2.0),
        degrees: float = 10.0,
        translate: float = 0.1,
        shear: float = 2.0,
        mixup: Sequence[float] | None = (0.5, 1.5),
    ) -> None:
        require_callable("then", then)
        self._size = require_int("size", size, low=32)
        self._then = then
        self._until = math.inf if until is None else require_int("until", until, low=0)
        self._scale = require_factors("scale", scale)
        self._degrees = require_number("degrees", degrees, low=0, high=180)
        self._translate = require_number("translate", translate, low=0, high=1)
        self._shear = require_number("shear", shear, low=0, high=45)
        self._mixup = None if mixup is None else require_factors("mixup", mixup)

    def __call__(self, sample: Sample, generator: Generator) -> Sample:
        """Refuse: a transform that holds this one has no further samples to give.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "deta.data.Mosaic draws further samples, so it must be data.train_transform itself: put other transforms "
            "into its then="
        )

    def mixed(self, sample: Sample, generator: Generator, others: Others, *, epoch: int) -> Sample:
        """Return the picture of an epoch, with the id of ``sample``.

        Raises:
            ValueError: Pictures whose annotations looked for other classes are to be mixed.
        """
        if epoch >= self._until:
            return self._then(sample, generator)
        if sample.federated is not None:
            raise ValueError("a mosaic mixes images in which other classes were looked for: choose another augment=")
        pieces = [sample, *(others(generator) for _ in range(3))]
        picture = self._warped(mosaic(pieces, self._size, self._point(generator)), generator)
        if self._mixup is not None and len(picture.boxes):
            picture = self._with_another(picture, generator, others)
        return self._then(picture, generator)

    def _point(self, generator: Generator) -> tuple[int, int]:
        """Column and row where the four meet."""
        column, row = (int(_uniform(0.5 * self._size, 1.5 * self._size, generator)) for _ in range(2))
        return column, row

    def _warped(self, sample: Sample, generator: Generator) -> Sample:
        angle = math.radians(_uniform(-self._degrees, self._degrees, generator))
        scale = _uniform(*self._scale, generator)
        along, across = (math.tan(math.radians(_uniform(-self._shear, self._shear, generator))) for _ in range(2))
        shift = [_uniform(-self._translate, self._translate, generator) * self._size for _ in range(2)]
        turn = scale * torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        return warp(sample, torch.tensor([[1.0, across], [along, 1.0]]) @ turn, torch.tensor(shift), self._size)

    def _with_another(self, picture: Sample, generator: Generator, others: Others) -> Sample:
        assert self._mixup is not None
        factor = _uniform(*self._mixup, generator)
        is_flipped = _uniform(0, 1, generator) > 0.5
        other = next((found for found in (others(generator) for _ in range(_TRIES)) if len(found.boxes)), None)
        if other is None:
            return picture
        canvas = torch.full((3, self._size, self._size), FILL, dtype=torch.uint8)
        side = int(self._size * factor)
        other = resize(_pasted(canvas, fitted(other, self._size), left=0, top=0), (side, side))
        left, top = (int(_uniform(0, max(side - self._size, 0), generator)) for _ in range(2))
        return mixup(picture, flip(other) if is_flipped else other, left=left, top=top)


def fitted(sample: Sample, size: int) -> Sample:
    """A sample as large as a square of ``size`` pixels takes it."""
    factor = size / max(sample.size)
    height, width = (max(int(side * factor), 2) for side in sample.size)
    return resize(sample, (height, width))


def mosaic(samples: Sequence[Sample], size: int, point: tuple[int, int]) -> Sample:
    """Four samples, each fitted to ``size``, on a canvas of twice that, row by row around ``point`` (column, row)."""
    canvas = torch.full((3, 2 * size, 2 * size), FILL, dtype=torch.uint8)
    parts = []
    for index, piece in enumerate(fitted(sample, size) for sample in samples):
        (height, width), (column, row) = piece.size, point
        left, top = column - width * (index % 2 == 0), row - height * (index < 2)
        parts.append(_pasted(canvas, piece, left=left, top=top))
    return _joined(parts, canvas)


def warp(sample: Sample, matrix: Tensor, shift: Tensor, size: int) -> Sample:
    """The square of ``size`` pixels that a linear map makes of a sample; boxes are those around the mapped ones.

    Args:
        sample: Of any size.
        matrix: ``[2, 2]`` of the map from places ``(x, y)`` in pixels to those of the result.
        shift: ``[2]`` added after it.
        size: Of the result; objects of which at most a pixel along a side is in it are dropped.
    """
    height, width = sample.size
    centres = torch.arange(size) + 0.5
    places = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)  # [size, size, 2]
    source = (places - shift) @ torch.linalg.inv(matrix).T  # [size, size, 2]
    grid = 2 * source / torch.tensor([width, height]) - 1
    image = functional.grid_sample((sample.image.float() - FILL)[None], grid[None], align_corners=False)[0] + FILL
    boxes = _around(sample.boxes, matrix, shift).clamp(0, size)
    ignore_boxes = _around(sample.ignore_boxes, matrix, shift).clamp(0, size)
    return _kept(replace(sample, image=image.round().to(torch.uint8), boxes=boxes, ignore_boxes=ignore_boxes), 1)


def mixup(picture: Sample, other: Sample, *, left: int, top: int) -> Sample:
    """Half of a picture and half of another from its place ``(left, top)`` on, black where that does not reach.

    Of the other, objects stay of which 20 % and 5 pixels along each side are inside; without any the picture stays.
    """
    height, width = picture.size
    seen = _pasted(torch.zeros_like(picture.image), other, left=-left, top=-top)
    moved = other.boxes - torch.tensor([left, top, left, top], dtype=torch.float32)
    limits = torch.tensor([width, height, width, height], dtype=torch.float32)
    clamped = torch.minimum(moved.clamp(min=0), limits)
    sides = clamped[:, 2:] - clamped[:, :2]
    share = sides.prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1).clamp(min=1e-6)
    is_kept = (sides > 5).all(1) & (share > 0.2)
    if not is_kept.any():
        return picture
    seen = replace(seen, boxes=clamped[is_kept], labels=other.labels[is_kept], areas=other.areas[is_kept])
    return _joined([picture, seen], ((picture.image.float() + seen.image.float()) / 2).to(torch.uint8))


def _pasted(canvas: Tensor, sample: Sample, *, left: int, top: int) -> Sample:
    """Write a sample into a canvas, its corner at ``(left, top)``, which may lie outside; what of it is inside."""
    above, beside = max(-top, 0), max(-left, 0)
    height, width = min(sample.size[0], canvas.shape[1] - top), min(sample.size[1], canvas.shape[2] - left)
    inside = crop(sample, top=above, left=beside, size=(height - above, width - beside))
    canvas[:, top + above : top + height, left + beside : left + width] = inside.image
    shift = torch.tensor([left + beside, top + above] * 2, dtype=torch.float32)
    return replace(inside, image=canvas, boxes=inside.boxes + shift, ignore_boxes=inside.ignore_boxes + shift)


def _joined(samples: Sequence[Sample], image: Tensor) -> Sample:
    """All objects and ignored areas in one image; the rest is of the first."""
    return replace(
        samples[0],
        image=image,
        boxes=torch.cat([sample.boxes for sample in samples]),
        labels=torch.cat([sample.labels for sample in samples]),
        areas=torch.cat([sample.areas for sample in samples]),
        ignore_boxes=torch.cat([sample.ignore_boxes for sample in samples]),
    )


def _kept(sample: Sample, side: float) -> Sample:
    """Without objects and ignored areas that are no longer than ``side`` along a side."""
    is_kept, stays = (((boxes[:, 2:] - boxes[:, :2]) > side).all(1) for boxes in (sample.boxes, sample.ignore_boxes))
    return replace(
        sample,
        boxes=sample.boxes[is_kept],
        labels=sample.labels[is_kept],
        areas=sample.areas[is_kept],
        ignore_boxes=sample.ignore_boxes[stays],
    )


def _around(boxes_xyxy: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """``[K, 4]`` boxes around the mapped corners of boxes."""
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].view(-1, 4, 2) @ matrix.T + shift  # [K, 4, 2]
    return torch.cat((corners.amin(1), corners.amax(1)), dim=1)


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()
