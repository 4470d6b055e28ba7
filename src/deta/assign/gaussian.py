"""Heat maps: one positive cell for every object, and targets that fall off around it."""

import torch
from torch import Tensor

from deta.assign.base import background
from deta.assign.scene import Part, in_pixels, is_empty, parts, per_candidate, require_parts
from deta.ops.boxes import to_corners
from deta.ops.random import Draw
from deta.structures import BACKGROUND, ExtraPairs, Matches, Prediction, Targets
from deta.utils.checks import require_choice, require_number

RADII = {"mmdet": 0.3, "original": 0.7}
"""How a radius is made of a box, with the published overlap."""


class GaussianAssigner:
    """The cell of an object's centre is positive; around it targets of the class fall off as a Gaussian.

    ``Matches.class_target`` is 1 in that cell, and the highest of all objects of a class elsewhere. A cell of several
    objects answers for the last of them.

    Source: arXiv:1904.07850 (CenterNet), sec. 3; the radius: arXiv:1808.01244 (CornerNet), sec. 3.2.

    Args:
        radius: ``mmdet``: boxes that are moved by it keep an IoU of ``min_overlap``. ``original``: as in the release,
            whose formula gives other roots; boxes are cut to the grid, those that are empty there left out, and the
            further objects of a cell are extra pairs.
        min_overlap: That IoU, above 0 and below 1; None is as published, 0.3 (``mmdet``) or 0.7.

    Raises:
        ValueError: An argument lies outside its range; when called, candidates that are not one grid.
    """

    needs = ("strides",)

    def __init__(self, *, radius: str = "mmdet", min_overlap: float | None = None) -> None:
        self.radius = require_choice("radius", radius, tuple(RADII))
        self.min_overlap = require_number(
            "min_overlap", RADII[radius] if min_overlap is None else min_overlap, low=1e-3, high=1 - 1e-3
        )

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        """Cells and maps; ``contested`` are cells of several objects."""
        del draw
        require_parts(self, prediction)
        height, width = self._grid(prediction)
        target, (num_images, _, num_classes) = background(prediction), prediction.logits.shape
        heat = torch.zeros(num_images, num_classes, height * width, device=target.device)
        count, can_match = torch.zeros_like(target), prediction.can_match()
        prediction, targets = in_pixels(prediction, targets)
        places, flags = [], []
        for part in [] if is_empty(prediction, targets) else parts(prediction, targets):
            centre, sides, is_there = self._cells(prediction, part, height, width)
            cell, radius = centre.floor(), self.radii(sides)  # [B, t, 2], [B, t]
            column, row = cell.unbind(-1)  # [B, t]
            is_there = is_there & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = torch.where(is_there, row * width + column, 0).long()  # [B, t]
            is_there = is_there & can_match.gather(1, place)
            index = part.start + torch.arange(place.shape[1], device=place.device)
            target = target.scatter_reduce(1, place, torch.where(is_there, index, BACKGROUND), reduce="amax")
            count = count.scatter_add(1, place, is_there.long())
            places.append(place)
            flags.append(is_there)
            values = torch.where(is_there[..., None], _gaussian(cell, radius, height, width), 0.0)  # [B, t, h*w]
            rows = part.labels[..., None].expand_as(values)
            heat = heat.scatter_reduce(1, rows, values, reduce="amax")
        class_target = heat.transpose(1, 2) * can_match[..., None]  # [B, h*w, C]
        extra = self._extra(target, places, flags) if self.radius == "original" and places else None
        return Matches(target, class_target=class_target, extra=extra, notes={"contested": count > 1})

    @staticmethod
    def _extra(target: Tensor, places: list[Tensor], flags: list[Tensor]) -> ExtraPairs:
        """The objects, ``[B, t]`` in every part, whose cell answers for another one."""
        place, is_there = torch.cat(places, 1), torch.cat(flags, 1)  # [B, T]
        index = torch.arange(place.shape[1], device=place.device).expand_as(place)
        is_pair = is_there & (target.gather(1, place) != index)
        return ExtraPairs(torch.where(is_pair, place, 0), torch.where(is_pair, index, 0), is_pair)

    def radii(self, sides: Tensor) -> Tensor:
        """``[...]`` whole radius of ``[..., 2]`` widths and heights, both in cells."""
        if self.radius == "original":
            sides = sides.ceil()
        total, area, overlap = sides.sum(-1), sides.prod(-1), self.min_overlap
        root = (4 * overlap**2 * total**2 + 16 * overlap * (1 - overlap) * area).sqrt() - 2 * overlap * total
        if self.radius == "original":
            # The release halves each of three roots in place of dividing it by twice its leading coefficient; then
            # this one is always the least.
            return (root / 2).floor()
        one_in_other = (total - (total**2 - 4 * area * (1 - overlap) / (1 + overlap)).clamp(min=0).sqrt()) / 2
        smaller = (total - (total**2 - 4 * area * (1 - overlap)).clamp(min=0).sqrt()) / 4
        return torch.minimum(torch.minimum(one_in_other, smaller), root / (8 * overlap)).floor().clamp(min=0)

    def _grid(self, prediction: Prediction) -> tuple[int, int]:
        if prediction.grid is None or len(prediction.grid) > 1 or prediction.grid[0][2] > 1:
            raise ValueError(
                "GaussianAssigner needs candidates that are one grid with one of them in a cell (Prediction.grid), "
                f"got {prediction.grid}: it suits a first stage of one level or a centre head; choose another rule"
            )
        return prediction.grid[0][:2]

    def _cells(self, prediction: Prediction, part: Part, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """``[B, t, 2]`` centres and sides in cells, and ``[B, t]`` which objects there are."""
        assert prediction.strides is not None
        boxes = part.boxes / per_candidate(prediction.strides, prediction)[:, :1, None]  # [B, t, 4]
        if self.radius == "mmdet":
            return boxes[..., :2], boxes[..., 2:], part.is_object
        cut = cut_to_grid(boxes, height, width)
        return cut[..., :2], cut[..., 2:], part.is_object & (cut[..., 2:] > 0).all(-1)


def cut_to_grid(boxes: Tensor, height: int, width: int) -> Tensor:
    """``[..., 4]`` ``cxcywh`` in cells, cut to the grid: to the last cell, not the border (CenterNet, release)."""
    x, y = to_corners(boxes).unflatten(-1, (2, 2)).unbind(-1)  # [..., 2], low and high
    low, high = torch.stack((x.clamp(0, width - 1), y.clamp(0, height - 1)), dim=-1).unbind(-2)  # [..., 2]
    return torch.cat(((low + high) / 2, high - low), dim=-1)


def _gaussian(cell: Tensor, radius: Tensor, height: int, width: int) -> Tensor:
    """``[B, t, h*w]`` of ``[B, t, 2]`` centres, 1 there and 0 beyond the radius ``[B, t]``; sigma is a sixth of it."""
    rows = torch.arange(height, device=cell.device) - cell[..., 1:]  # [B, t, h]
    columns = torch.arange(width, device=cell.device) - cell[..., :1]  # [B, t, w]
    sigma = (2 * radius[..., None] + 1) / 6  # [B, t, 1]
    down, across = (
        torch.exp(-(steps**2) / (2 * sigma**2)).masked_fill(steps.abs() > radius[..., None], 0.0)
        for steps in (rows, columns)
    )
    return (down[..., :, None] * across[..., None, :]).flatten(2)  # [B, t, h*w]
