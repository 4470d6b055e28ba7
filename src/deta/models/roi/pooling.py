"""Features of regions."""

from itertools import pairwise

import torch
from torch import Tensor

from deta.ops.boxes import to_corners
from deta.ops.regions import pool_regions
from deta.structures import Features
from deta.utils.checks import require_bool, require_int

CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 4
"""Square root of an area in pixels, and the binary logarithm of the stride of the level for it (FPN, eq. 1)."""


class RegionPooling:
    """RoIAlign on the level that fits the size of a region.

    Source: arXiv:1703.06870 (Mask R-CNN), sec. 3; level: arXiv:1612.03144 (FPN), eq. 1.

    Args:
        resolution: Cells of the grid over a region, in each direction.
        samples: In a cell of it, in each direction; 0 is one for every cell of the map.
        aligned: Whether pixels are small squares, as in detectron2; else points, as in torchvision's detectors.
        num_levels: Of the finest levels, at most, from which it reads.

    Raises:
        ValueError: An argument lies outside its range.
    """

    def __init__(
        self,
        *,
        resolution: int = 7,
        samples: int = 2,
        aligned: bool = False,
        num_levels: int = 4,
    ) -> None:
        self.resolution = require_int("model.body.pooling.resolution", resolution, low=1)
        self.samples = require_int("model.body.pooling.samples", samples, low=0)
        self.aligned = require_bool("model.body.pooling.aligned", aligned)
        self.num_levels = require_int("model.body.pooling.num_levels", num_levels, low=1)

    def levels(self, boxes: Tensor, strides: tuple[int, ...]) -> Tensor:
        """``[B, R]`` int64 index of the level of ``[B, R, 4]`` ``cxcywh`` boxes in pixels.

        Raises:
            ValueError: Strides do not double from level to level.
        """
        strides = strides[: self.num_levels]
        if any(2 * fine != coarse for fine, coarse in pairwise(strides)):
            raise ValueError(f"regions need levels whose strides double (model.neck, model.backbone), got {strides}")
        finest, coarsest = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))
        side = boxes[..., 2:].prod(-1).sqrt()
        # The small number keeps a side that is the canonical one on its level.
        level = (CANONICAL_LEVEL + (side / CANONICAL_SIDE).log2() + 1e-6).floor()
        return level.clamp(finest, coarsest).long() - finest

    def __call__(self, features: Features, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Read.

        Args:
            features: With strides that double from level to level.
            boxes: ``[B, R, 4]`` ``cxcywh`` in pixels; no gradient reaches them.

        Returns:
            ``[B, R, D, resolution, resolution]`` float32, and ``[B, R]`` int64 levels.
        """
        levels = self.levels(boxes, features.strides)
        maps = features.maps[: self.num_levels]
        scales = [1 / stride for stride in features.strides[: self.num_levels]]
        with torch.autocast(boxes.device.type, enabled=False):  # its kernels take float32
            pooled = pool_regions(
                [feature.float() for feature in maps],
                to_corners(boxes),
                levels,
                scales,
                self.resolution,
                self.samples,
                aligned=self.aligned,
            )
        return pooled, levels
