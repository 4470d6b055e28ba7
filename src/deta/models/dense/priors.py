"""Priors of dense detectors: boxes around the cells of every level."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deta.structures import Features
from deta.utils.checks import require_bool, require_choice, require_number


class GridPriors(nn.Module):
    """Boxes around a point of every cell, in pixels of the padded image.

    Two publications place them differently: torchvision moves by the floor of image side over map side and rounds
    corners (arXiv:1708.02002, its code), mmdetection moves by the stride and does not round.

    Args:
        sizes: Sides of square boxes in pixels, ascending, a list for every level; lists beyond the last level are left.
        scales: The same in strides, one list for all levels; either this or ``sizes``.
        ratios: Height to width; every ratio has boxes of every size.
        order: Of the boxes of a cell: ``ratios`` one after the other, each with all sizes, or ``sizes``, as detectron2.
        step: From a cell to the next: ``stride`` of the level, or ``grid``: the floor of padded side over map side.
        rounded: Whether corners of a box around 0 are rounded to whole pixels, halves to even.
        offset: From the corner of a cell to the centre of its boxes, in steps, 0..1.

    Raises:
        ValueError: An argument lies outside its range.
    """

    sides: Tensor

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | None = None,
        scales: Sequence[float] | None = None,
        ratios: Sequence[float] = (1.0,),
        step: str = "stride",
        rounded: bool = False,
        offset: float = 0.0,
        order: str = "ratios",
    ) -> None:
        super().__init__()
        by_size = require_choice("model.body.priors.order", order, ("ratios", "sizes")) == "sizes"
        if (sizes is None) == (scales is None):
            raise ValueError(
                "give one of model.body.priors.sizes, a list for every level, and model.body.priors.scales in strides"
            )
        self.sizes = None if sizes is None else [_positive("sizes", of_level) for of_level in sizes]
        self.scales = None if scales is None else _positive("scales", scales)
        self.ratios = _positive("ratios", ratios)
        self.step = require_choice("step", step, ("stride", "grid"))
        self.rounded = require_bool("rounded", rounded)
        self.offset = require_number("model.body.priors.offset", offset, low=0, high=1)
        counts = {len(of_level) for of_level in self.sizes or [self.scales or []]}
        if len(counts) > 1:
            raise ValueError(f"model.body.priors.sizes must be equally many on every level, got {sorted(counts)}")
        self.per_cell = len(self.ratios) * counts.pop()
        sides = [
            [
                (size / math.sqrt(ratio), size * math.sqrt(ratio))
                for ratio, size in _pairs(self.ratios, of_level, by_size)
            ]
            for of_level in self.sizes or [self.scales or []]
        ]
        # [L, A, 2] pixels of every level, or [1, A, 2] strides of all: made once: a copy to the device waits.
        self.register_buffer("sides", torch.tensor(sides), persistent=False)

    def forward(self, features: Features) -> list[Tensor]:
        """``[h * w * per_cell, 4]`` float32 ``cxcywh`` in pixels of every level: row by row, those of a cell together.

        Raises:
            ValueError: There are sizes for fewer levels.
        """
        if self.sizes is not None and len(self.sizes) < len(features.maps):
            raise ValueError(
                f"model.body.priors.sizes has {len(self.sizes)} levels, but model.neck gives {len(features.maps)}"
            )
        device, padded = features.image_sizes.device, features.padded()
        levels = []
        for level, ((height, width), stride) in enumerate(zip(features.spatial_shapes, features.strides, strict=True)):
            steps = (padded[0] // height, padded[1] // width) if self.step == "grid" else (stride, stride)
            rows, columns = (
                (torch.arange(count, device=device, dtype=torch.float32) + self.offset) * step
                for count, step in zip((height, width), steps, strict=True)
            )
            centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # [h, w, 2]
            sides = self.sides[0] * stride if self.sizes is None else self.sides[level]  # [A, 2]
            sides = 2 * (sides / 2).round() if self.rounded else sides
            shape = (height, width, self.per_cell, 2)
            around = torch.cat((centres[:, :, None].expand(shape), sides.expand(shape)), dim=-1)  # [h, w, A, 4]
            levels.append(around.flatten(0, 2))  # [h * w * A, 4]
        return levels


def _pairs(ratios: Sequence[float], sizes: Sequence[float], by_size: bool) -> list[tuple[float, float]]:
    if by_size:
        return [(ratio, size) for size in sizes for ratio in ratios]
    return [(ratio, size) for ratio in ratios for size in sizes]


def _positive(name: str, values: Sequence[float]) -> list[float]:
    return [require_number(f"model.body.priors.{name}", value, low=1e-3) for value in values]
