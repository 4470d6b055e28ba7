"""Overlap of axis-aligned boxes, for any leading dimensions."""

import torch
from torch import Tensor


def box_area(boxes: Tensor) -> Tensor:
    """Area of ``[..., 4]`` ``xyxy`` boxes; a box with negative width or height has area 0."""
    return _area(_sides(boxes))


def box_iou(first: Tensor, second: Tensor, eps: float = 0.0) -> Tensor:
    """Intersection over union, element by element.

    Args:
        first: ``[..., 4]`` ``xyxy`` in any one unit.
        second: ``[..., 4]`` ``xyxy`` in the same unit; the two broadcast.
        eps: Added to the union, in the square of the unit, at least 0.

    Returns:
        ``[...]`` in 0..1. A pair whose union has no area gives 0, not NaN.
    """
    intersection = _area(_overlap(first, second))
    return intersection / _divisor(box_area(first) + box_area(second) - intersection, eps)


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
    intersection = _area(_overlap(first, second))
    union = box_area(first) + box_area(second) - intersection
    hull = _area(torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2]))
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
    return _area(_overlap(boxes, areas)) / _divisor(box_area(boxes), 0.0)


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """``[..., 2]`` sides of the intersection; negative where boxes lie apart."""
    return torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])


def _sides(boxes: Tensor) -> Tensor:
    return boxes[..., 2:] - boxes[..., :2]


def _area(sides: Tensor) -> Tensor:
    """Of ``[..., 2]`` sides, 0 where one is negative. ``prod`` would wait for the device in its backward pass."""
    width, height = sides.clamp(min=0).unbind(-1)
    return width * height


def _divisor(area: Tensor, eps: float) -> Tensor:
    """The area and ``eps``; without one 1 where it is 0, so that a zero numerator gives 0 with a zero gradient."""
    return area + eps if eps else area.masked_fill(area <= 0, 1.0)
