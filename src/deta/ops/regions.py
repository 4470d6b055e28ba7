"""Features of boxes, read from the level of a pyramid that fits their size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def pool_regions(
    maps: Sequence[Tensor],
    boxes: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    resolution: int,
    samples: int,
    *,
    aligned: bool,
) -> Tensor:
    """Average of bilinear samples in every cell of a grid over every box.

    An operator of its own, since how many boxes a level has is data that torch.compile cannot trace.

    Source: arXiv:1703.06870 (Mask R-CNN), sec. 3 (RoIAlign), as in torchvision, whose kernels it runs.

    Args:
        maps: ``[B, D, h, w]`` float32 of every level, one width D.
        boxes: ``[B, R, 4]`` ``xyxy`` in pixels; no gradient reaches them.
        levels: ``[B, R]`` int64 index into ``maps``.
        scales: Cells in a pixel of every level.
        resolution: Cells of the grid in each direction.
        samples: In a cell of the grid, in each direction; 0 is one for every cell of the map.
        aligned: Whether pixels are small squares, so that boxes move by half a cell; else points.

    Returns:
        ``[B, R, D, resolution, resolution]``.
    """
    image = torch.arange(boxes.shape[0], device=boxes.device, dtype=boxes.dtype)[:, None, None]  # [B, 1, 1]
    rows = torch.cat((image.expand(*boxes.shape[:2], 1), boxes.detach()), dim=-1).flatten(0, 1)  # [B * R, 5]
    pooled: Tensor = _pool(list(maps), rows, levels.flatten(), list(scales), resolution, samples, aligned)
    return pooled.view(*boxes.shape[:2], *pooled.shape[1:])  # [B, R, D, resolution, resolution]


_OUTSIDE = -1e6
"""A coordinate in pixels outside of every map."""


@torch.library.custom_op("deta::pool_regions", mutates_args=())
def _pool(
    maps: Sequence[Tensor],
    rows: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    resolution: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    maps = [feature.contiguous() for feature in maps]
    if rows.is_cuda:
        return pool_uncounted(maps, rows, levels, scales, resolution, samples, aligned)
    pooled = rows.new_zeros(rows.shape[0], maps[0].shape[1], resolution, resolution)
    for level, (feature, scale) in enumerate(zip(maps, scales, strict=True)):
        is_here = levels == level
        settings = (scale, resolution, resolution, samples, aligned)
        pooled[is_here] = torch.ops.torchvision.roi_align(feature, rows[is_here], *settings)
    return pooled


def pool_uncounted(
    maps: Sequence[Tensor],
    rows: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    resolution: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    """The operator, ``[R, D, resolution, resolution]``, without a count of the regions of a level.

    All regions are read from every level, those of others outside of its map. So nothing waits for a GPU, and a program
    that is traced has operators of PyTorch and torchvision alone.

    Args:
        maps: As of ``pool_regions``.
        rows: ``[R, 5]`` number of the image and ``xyxy`` in pixels.
        levels: ``[R]`` int64.
        scales: As of ``pool_regions``.
        resolution: Likewise.
        samples: Likewise.
        aligned: Likewise.
    """
    pooled = rows.new_zeros(rows.shape[0], maps[0].shape[1], resolution, resolution)
    for level, (feature, scale) in enumerate(zip(maps, scales, strict=True)):
        is_here = levels == level
        settings = (scale, resolution, resolution, samples, aligned)
        here = torch.ops.torchvision.roi_align(feature, _of_level(rows, is_here), *settings)
        pooled = torch.where(is_here[:, None, None, None], here, pooled)
    return pooled


@_pool.register_fake
def _pool_shape(
    maps: Sequence[Tensor],
    rows: Tensor,
    levels: Tensor,
    scales: Sequence[float],
    resolution: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    del levels, scales, samples, aligned
    return rows.new_empty(rows.shape[0], maps[0].shape[1], resolution, resolution)


@torch.library.custom_op("deta::pool_regions_backward", mutates_args=())
def _pool_backward(
    gradient: Tensor,
    rows: Tensor,
    levels: Tensor,
    sizes: Sequence[int],
    scales: Sequence[float],
    samples: int,
    aligned: bool,
) -> list[Tensor]:
    num_images, width, *sides = sizes
    resolution = gradient.shape[-1]
    gradients = []
    for level, (height_width, scale) in enumerate(zip(zip(sides[::2], sides[1::2], strict=True), scales, strict=True)):
        is_here = levels == level
        if rows.is_cuda:
            own, here = torch.where(is_here[:, None, None, None], gradient, 0.0), _of_level(rows, is_here)
        else:
            own, here = gradient[is_here], rows[is_here]
        shape = (num_images, width, *height_width)
        settings = (scale, resolution, resolution, *shape, samples, aligned)
        gradients.append(torch.ops.torchvision._roi_align_backward(own.contiguous(), here, *settings))
    return gradients


def _of_level(rows: Tensor, is_here: Tensor) -> Tensor:
    """All of them, since counting would wait for the device; those of other levels lie outside, where kernels stop."""
    return torch.cat((rows[:, :1], rows[:, 1:].masked_fill(~is_here[:, None], _OUTSIDE)), dim=1)


@_pool_backward.register_fake
def _pool_backward_shapes(
    gradient: Tensor,
    rows: Tensor,
    levels: Tensor,
    sizes: Sequence[int],
    scales: Sequence[float],
    samples: int,
    aligned: bool,
) -> list[Tensor]:
    del rows, levels, scales, samples, aligned
    num_images, width, *sides = sizes
    return [
        gradient.new_empty(num_images, width, height, level_width)
        for height, level_width in zip(sides[::2], sides[1::2], strict=True)
    ]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401 - of autograd
    del output
    maps, rows, levels, ctx.scales, _, ctx.samples, ctx.aligned = inputs
    ctx.sizes = [*maps[0].shape[:2], *(side for feature in maps for side in feature.shape[2:])]
    ctx.save_for_backward(rows, levels)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[list[Tensor] | None, ...]:  # noqa: ANN401 - of autograd
    gradients = _pool_backward(gradient, *ctx.saved_tensors, ctx.sizes, ctx.scales, ctx.samples, ctx.aligned)
    return gradients, None, None, None, None, None, None


_pool.register_autograd(_differentiate, setup_context=_save)
