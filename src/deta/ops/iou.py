"""Overlap of axis-aligned boxes, for any leading dimensions."""

import torch
from torch import Tensor


def box_area(boxes: Tensor) -> Tensor:
    """Area of ``[..., 4]`` ``xyxy`` boxes; a box with negative width or height has area 0."""
    return _area(boxes[..., 2:] - boxes[..., :2])


def box_iou(first: Tensor, second: Tensor, eps: float = 0.0) -> Tensor:
    """Intersection over union, element by element.

    Args:
        first: ``[..., 4]`` ``xyxy`` in any one unit.
        second: ``[..., 4]`` ``xyxy`` in the same unit; the two broadcast.
        eps: Added to the union, in the square of the unit, at least 0.

    Returns:
        ``[...]`` in 0..1. A pair whose union has no area gives 0, not NaN.
    """
    intersection, union = _intersection_and_union(first, second)
    return intersection / _divisor(union, eps)


def box_giou(first: Tensor, second: Tensor, eps: float = 0.0) -> Tensor:
    """Generalised intersection over union, element by element.

    Source: arXiv:1902.09630, algorithm 1.

    Args:
        first: ``[..., 4]`` ``xyxy`` in any one unit.
        second: ``[..., 4]`` ``xyxy`` in the same unit; the two broadcast.
        eps: Added to union and hull where they divide, in the square of the unit, at least 0.

    Returns:
        ``[...]`` in -1..1. Two boxes without area at one point give 0, not NaN.
    """
    intersection, union = _intersection_and_union(first, second)
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    hull = _area(high - low)
    return intersection / _divisor(union, eps) - (hull - union) / _divisor(hull, eps)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """``box_iou`` of every pair: ``[..., N, 4]`` and ``[..., K, 4]`` give ``[..., N, K]``."""
    return box_iou(first[..., :, None, :], second[..., None, :, :])


def pairwise_giou(first: Tensor, second: Tensor, eps: float = 0.0) -> Tensor:
    """``box_giou`` of every pair: ``[..., N, 4]`` and ``[..., K, 4]`` give ``[..., N, K]``."""
    return box_giou(first[..., :, None, :], second[..., None, :, :], eps)


def pairwise_coverage(boxes: Tensor, areas: Tensor) -> Tensor:
    """Share of every box that lies inside every area.

    Args:
        boxes: ``[..., N, 4]`` ``xyxy`` in any one unit.
        areas: ``[..., K, 4]`` ``xyxy`` in the same unit.

    Returns:
        ``[..., N, K]`` in 0..1; 0 for a box without area.
    """
    boxes, areas = boxes[..., :, None, :], areas[..., None, :, :]  # [..., N, 1, 4], [..., 1, K, 4]
    intersection, _ = _intersection_and_union(boxes, areas)
    return intersection / _divisor(box_area(boxes), 0.0)


def _intersection_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = _area(high - low)
    return intersection, box_area(first) + box_area(second) - intersection


def _area(sides: Tensor) -> Tensor:
    """Of ``[..., 2]`` sides, 0 where one is negative. ``prod`` would wait for the device in its backward pass."""
    width, height = sides.clamp(min=0).unbind(-1)
    return width * height


def _divisor(area: Tensor, eps: float) -> Tensor:
    """The area and ``eps``; without one 1 where it is 0, so that a zero numerator gives 0 with a zero gradient."""
    return area + eps if eps else torch.where(area > 0, area, torch.ones_like(area))
