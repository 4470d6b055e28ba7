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


def map_embedding(
    is_padding: Tensor, num_features: int, *, temperature: float = 10_000.0, is_centred: bool = True
) -> Tensor:
    """Sine embedding of every cell of a padded map.

    Source: arXiv:2005.12872 (DETR), sec. A.4; coordinates of cell centres as in arXiv:2010.04159.

    Args:
        is_padding: ``[B, H, W]`` bool.
        num_features: Features of each axis.
        temperature: See ``sine_embedding``; 20 in arXiv:2201.12329 (DAB-DETR).
        is_centred: Whether a coordinate is that of the cell's centre, else that of its end, as in DETR.

    Returns:
        ``[B, H, W, 2 * num_features]``, the vertical half first.
    """
    is_valid = (~is_padding).float()
    shift = 0.5 if is_centred else 0.0
    # 1e-6 as in DETR: a row or column of padding alone has no length.
    rows = (is_valid.cumsum(1) - shift) / (is_valid.sum(1, keepdim=True) + 1e-6)
    columns = (is_valid.cumsum(2) - shift) / (is_valid.sum(2, keepdim=True) + 1e-6)
    radians = torch.stack((rows, columns), dim=-1) * 2 * math.pi  # [B, H, W, 2]
    return sine_embedding(radians, num_features, temperature)  # [B, H, W, 2 * F]


def box_embedding(boxes: Tensor, num_features: int) -> Tensor:
    """Sine embedding ``[..., 4 * num_features]`` of boxes ``[..., 4]`` in 0..1."""
    return sine_embedding(boxes * 2 * math.pi, num_features)


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
    return sine_embedding(ordered * 2 * math.pi, num_features)


def valid_size(is_padding: Tensor) -> Tensor:
    """``[B, 2]`` float32 ``(width, height)`` in cells of the unpadded part of a map ``[B, H, W]``."""
    # Padding lies at the bottom and right: the first row and the first column tell.
    return torch.stack(((~is_padding[:, 0]).float().sum(1), (~is_padding[:, :, 0]).float().sum(1)), dim=1)


def valid_ratio(is_padding: Tensor) -> Tensor:
    """``[B, 2]`` float32 unpadded fraction ``(of the width, of the height)`` of a map ``[B, H, W]``."""
    return torch.stack(((~is_padding[:, 0]).float().mean(1), (~is_padding[:, :, 0]).float().mean(1)), dim=1)


def cell_centres(spatial_shapes: Sequence[tuple[int, int]], valid_sizes: Tensor) -> Tensor:
    """Centre of every cell, relative to the unpadded image; above 1 on padding.

    Args:
        spatial_shapes: ``(height, width)`` of every level.
        valid_sizes: ``[B, L, 2]`` unpadded ``(width, height)`` in cells.

    Returns:
        ``[B, S, 2]`` as ``(x, y)``.
    """
    device = valid_sizes.device
    centres = []
    for level, (height, width) in enumerate(spatial_shapes):
        rows = torch.arange(height, device=device).float() + 0.5
        columns = torch.arange(width, device=device).float() + 0.5
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).view(-1, 2)  # [h*w, 2]
        centres.append(grid / valid_sizes[:, level, None])  # [B, h*w, 2]
    return torch.cat(centres, dim=1)


def encoder_references(spatial_shapes: Sequence[tuple[int, int]], valid_sizes: Tensor, valid_ratios: Tensor) -> Tensor:
    """The cell centre of every token as a point in each padded level.

    Args:
        spatial_shapes: ``(height, width)`` of every level.
        valid_sizes: ``[B, L, 2]`` unpadded ``(width, height)`` in cells.
        valid_ratios: ``[B, L, 2]`` unpadded fraction of width and height.

    Returns:
        ``[B, S, L, 2]``.
    """
    return cell_centres(spatial_shapes, valid_sizes)[:, :, None] * valid_ratios[:, None]  # [B, S, L, 2]
