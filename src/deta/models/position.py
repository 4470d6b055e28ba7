"""Positions: sine embeddings of cells and boxes, cell centres, reference points of the encoder."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def sine_embedding(coordinates: Tensor, num_features: int, temperature: float = 10_000.0) -> Tensor:
    """Sines and cosines of every coordinate, interleaved, with wavelengths from 2 pi to 2 pi * temperature.

    Args:
        coordinates: ``[..., K]`` in radians.
        num_features: Features of each coordinate, even.
        temperature: Largest divisor of a coordinate.

    Returns:
        ``[..., K * num_features]`` float32.
    """
    exponents = torch.arange(0, num_features, 2, dtype=torch.float32, device=coordinates.device) / num_features
    angles = coordinates.float()[..., None] / temperature**exponents  # [..., K, F/2]
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)  # [..., K * F]


def count_cells(is_padding: Tensor, spatial_shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Unpadded cells of every level up to each of its cells, and of the whole column and row of that cell.

    Args:
        is_padding: ``[B, S]`` bool of the cells of all levels.
        spatial_shapes: ``(height, width)`` of every level.

    Returns:
        Counts and totals, both ``[B, S, 2]`` float32: down the column, along the row.
    """
    levels = (~is_padding).float().split([height * width for height, width in spatial_shapes], dim=1)
    counts, totals = [], []
    for level, shape in zip(levels, spatial_shapes, strict=True):
        cells = level.unflatten(1, shape)  # [B, h, w]
        down, along = cells.cumsum(1), cells.cumsum(2)
        ends = down[:, -1:].expand_as(down), along[:, :, -1:].expand_as(along)
        counts.append(torch.stack((down, along), dim=-1).flatten(1, 2))  # [B, h * w, 2]
        totals.append(torch.stack(ends, dim=-1).flatten(1, 2))  # [B, h * w, 2]
    return torch.cat(counts, dim=1), torch.cat(totals, dim=1)


def map_embedding(
    counts: Tensor, totals: Tensor, num_features: int, *, temperature: float = 10_000.0, is_centred: bool = True
) -> Tensor:
    """Sine embedding of every cell of padded maps.

    Source: arXiv:2005.12872 (DETR), sec. A.4; coordinates of cell centres as in arXiv:2010.04159.

    Args:
        counts: ``[B, S, 2]``, see ``count_cells``.
        totals: ``[B, S, 2]``, likewise.
        num_features: Features of each axis.
        temperature: See ``sine_embedding``; 20 in arXiv:2201.12329 (DAB-DETR).
        is_centred: Whether a coordinate is that of the cell's centre, else that of its end, as in DETR.

    Returns:
        ``[B, S, 2 * num_features]``, the vertical half first.
    """
    ends = counts - 0.5 if is_centred else counts
    # 1e-6 as in DETR: a row or column of padding alone has no length.
    return sine_embedding(ends / (totals + 1e-6) * (2 * math.pi), num_features, temperature)  # [B, S, 2 * F]


def box_embedding(boxes: Tensor, num_features: int) -> Tensor:
    """Sine embedding ``[..., 4 * num_features]`` of boxes ``[..., 4]`` in 0..1."""
    return sine_embedding(boxes * (2 * math.pi), num_features)


def reference_embedding(references: Tensor, num_features: int) -> Tensor:
    """Sine embedding of points or boxes, the vertical coordinate before the horizontal one.

    Source: arXiv:2108.06152 (Conditional DETR), sec. 3.3; arXiv:2201.12329 (DAB-DETR), sec. 4.2.

    Args:
        references: ``[..., 2]`` as ``(x, y)`` or ``[..., 4]`` ``cxcywh``, in 0..1.
        num_features: Features of each coordinate.

    Returns:
        ``[..., 2 or 4 times num_features]`` of ``(y, x)`` or ``(y, x, w, h)``.
    """
    ordered = torch.cat((references[..., :2].flip(-1), references[..., 2:]), dim=-1)
    return sine_embedding(ordered * (2 * math.pi), num_features)


def valid_size(is_padding: Tensor) -> Tensor:
    """``[B, 2]`` float32 ``(width, height)`` in cells of the unpadded part of a map ``[B, H, W]``."""
    # Padding lies at the bottom and right: the first row and the first column tell.
    sides = (~is_padding[:, 0]).sum(1, dtype=torch.float32), (~is_padding[:, :, 0]).sum(1, dtype=torch.float32)
    return torch.stack(sides, dim=1)


def valid_ratios(valid_sizes: Tensor, grids: Sequence[Tensor]) -> Tensor:
    """``[B, L, 2]`` unpadded fraction of width and height, of ``[B, L, 2]`` unpadded cells and every ``cell_grid``."""
    # The last centre lies half a cell inside: no number has to travel to the device.
    return valid_sizes / (torch.stack([grid[-1] for grid in grids]) + 0.5)


def cell_grid(height: int, width: int, device: torch.device) -> Tensor:
    """``[height * width, 2]`` centre ``(x, y)`` of every cell of a level, in cells."""
    rows, columns = (torch.arange(count, device=device) + 0.5 for count in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 2)  # [h * w, 2]


def cell_centres(grids: Sequence[Tensor], valid_sizes: Tensor) -> Tensor:
    """Centre of every cell, relative to the unpadded image; above 1 on padding.

    Args:
        grids: The ``cell_grid`` of every level.
        valid_sizes: ``[B, L, 2]`` unpadded ``(width, height)`` in cells.

    Returns:
        ``[B, S, 2]`` as ``(x, y)``.
    """
    levels = zip(valid_sizes.unbind(1), grids, strict=True)
    sizes = torch.cat([size[:, None].expand(-1, grid.shape[0], -1) for size, grid in levels], dim=1)  # [B, S, 2]
    return torch.cat(list(grids)) / sizes


def encoder_references(centres: Tensor, ratios: Tensor) -> Tensor:
    """The cell centre of every token as a point in each padded level.

    Args:
        centres: ``[B, S, 2]``, see ``cell_centres``.
        ratios: ``[B, L, 2]``, see ``valid_ratios``.

    Returns:
        ``[B, S, L, 2]``.
    """
    return centres[:, :, None] * ratios[:, None]  # [B, S, L, 2]
