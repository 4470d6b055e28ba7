"""The body of dense detectors: every cell predicts, and nothing is selected before post-processing."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deta.models.body import Body
from deta.models.dense.base import HeadShape, LevelHead
from deta.models.dense.codecs import Codec
from deta.models.dense.head import DenseHead
from deta.models.dense.priors import GridPriors
from deta.ops.random import Draw
from deta.structures import DetectionOutput, Features, Prediction, StageKey, Targets
from deta.utils.checks import require_callable, require_int

DENSE = "dense"
"""The role of its one stage."""


class DenseBody(Body):
    """Priors, a head that all levels share, and a codec: a detector such as RetinaNet, FCOS, ATSS or GFL.

    Boxes and priors are in pixels of the padded image: rules with distances or exact ties need those.

    Args:
        num_classes: Categories.
        channels: Of every level of the neck, all equal.
        priors: Boxes around cells.
        codec: From codes to boxes.
        hidden_dim: Channels of the head.
        head: Makes the head when called with its ``HeadShape``.
        own_multiple: Cells beyond an image whose sides are padded to a multiple of this may not match
            (``Rule.unmatched``), 32 in mmdetection; None lets all cells of the batch match, as in torchvision.
    """

    roles = (DENSE,)
    placed = roles
    detects_on_grid = True

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        priors: GridPriors,
        codec: Codec,
        hidden_dim: int = 256,
        head: Callable[[HeadShape], LevelHead] = DenseHead,
        own_multiple: int | None = None,
    ) -> None:
        super().__init__()
        require_callable("model.body.codec", codec)
        self.priors, self.codec = priors, codec
        self.own_multiple = None if own_multiple is None else require_int("own_multiple", own_multiple, low=1)
        self.head = head(HeadShape(tuple(channels), num_classes, priors.per_cell, codec.size, hidden_dim))

    def forward(self, features: Features, targets: Targets | None = None, draw: Draw | None = None) -> DetectionOutput:
        """One stage with all candidates; neither ``targets`` nor ``draw`` is used."""
        del targets, draw
        of_levels = self.priors(features)
        priors = torch.cat(of_levels)  # [N, 4]
        sizes = [level.shape[0] for level in of_levels]
        levels = _spread(range(len(sizes)), sizes, priors, torch.int64)
        strides = _spread(features.strides, sizes, priors, torch.float32)
        logits, code, quality = self.head(features.maps)
        boxes = self.codec(code, priors, strides)
        prediction = Prediction(
            logits,
            boxes,
            priors.expand_as(boxes),
            may_match=self._may_match(features),
            grid=tuple((height, width, self.priors.per_cell) for height, width in features.spatial_shapes),
            levels=levels,
            strides=strides,
            quality=quality,
            code=code,
        )
        return DetectionOutput({StageKey(DENSE): prediction}, StageKey(DENSE), features.frame())

    def _may_match(self, features: Features) -> Tensor | None:
        """``[B, N]`` bool: cells that begin inside the image as it would be padded alone."""
        if self.own_multiple is None:
            return None
        limits = (features.image_sizes / self.own_multiple).ceil() * self.own_multiple  # [B, 2]
        inside = []
        for (height, width), stride in zip(features.spatial_shapes, features.strides, strict=True):
            rows, columns = (torch.arange(count, device=limits.device) * stride for count in (height, width))
            is_inside = (rows < limits[:, :1])[:, :, None] & (columns < limits[:, 1:])[:, None]  # [B, h, w]
            inside.append(is_inside.flatten(1).repeat_interleave(self.priors.per_cell, dim=1))  # [B, h * w * A]
        return torch.cat(inside, dim=1)


def _spread(values: Sequence[float], sizes: Sequence[int], like: Tensor, dtype: torch.dtype) -> Tensor:
    """``[N]``: a number of the host for every candidate of a level, filled in on the device."""
    return torch.cat(
        [torch.full((size,), value, dtype=dtype, device=like.device) for value, size in zip(values, sizes, strict=True)]
    )
