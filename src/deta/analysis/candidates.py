"""What the assignment laboratory assigns: the boxes that a detector starts from, without the detector."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch

from deta.models.dense.priors import GridPriors
from deta.models.query.anchors import encoder_anchors
from deta.models.query.tokens import FeatureTokens
from deta.structures import Features, Prediction
from deta.utils.checks import require_bool, require_int, require_list, require_number

Size = tuple[int, int]
"""``(height, width)`` in pixels."""


class Candidates(Protocol):
    """Makes the candidates of an image.

    Attributes:
        is_point: Whether their rule looks at centres alone, so that pictures show points.
    """

    is_point: bool

    def __call__(self, size: Size) -> Prediction:
        """Those of one image of this size as the network sees it: boxes that are priors too, with equal scores."""
        ...


class AnchorGrid:
    """The anchors that the first stage of DETA starts from, relative to the image.

    Source: arXiv:2010.04159, sec. 4.2.

    Args:
        strides: Pixels per cell of every level, finest first; a level has ``ceil(side / stride)`` cells.
        scale: Width and height on the finest level, as fraction of the image.
        growth: Factor on them from one level to the next.
    """

    is_point = False

    def __init__(
        self, *, strides: Sequence[int] = (8, 16, 32, 64, 128), scale: float = 0.05, growth: float = 2.0
    ) -> None:
        self._strides = _checked_strides("anchors.strides", strides)
        self._scale = require_number("anchors.scale", scale, low=0, high=1)
        self._growth = require_number("anchors.growth", growth, low=0)

    def __call__(self, size: Size) -> Prediction:
        """The anchors; those at the border may not match."""
        levels = _levels(self._strides, size, size)
        memory = FeatureTokens.of(levels)
        anchors, is_valid = encoder_anchors(memory, self._scale, self._growth)
        return Prediction(
            logits=anchors.new_zeros(*anchors.shape[:2], 1),
            boxes=anchors,
            priors=anchors,
            frame=levels.frame(),
            may_match=is_valid,
            grid=tuple((height, width, 1) for height, width in levels.spatial_shapes),
            levels=memory.levels(),
            strides=memory.strides_of_tokens(),
        )


class PriorGrid:
    """The priors of a dense detector, in pixels, for an image that is alone in its batch.

    Args:
        priors: Boxes around the cells of every level.
        strides: Pixels per cell of every level, finest first.
        multiple: The sides of the image are padded to a multiple of this, in pixels, from 1; cells on padding are
            candidates.
        is_point: Whether the rule looks at centres alone.
    """

    def __init__(
        self,
        *,
        priors: GridPriors,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        multiple: int = 32,
        is_point: bool = False,
    ) -> None:
        self._priors = priors
        self._strides = _checked_strides("candidates.strides", strides)
        self._multiple = require_int("candidates.multiple", multiple, low=1)
        self.is_point = require_bool("candidates.is_point", is_point)

    def __call__(self, size: Size) -> Prediction:
        """The priors, all of which may match."""
        height, width = (math.ceil(side / self._multiple) * self._multiple for side in size)
        levels = _levels(self._strides, size, (height, width))
        of_levels = self._priors(levels)
        numbers = torch.tensor([len(level) for level in of_levels])
        priors = torch.cat(of_levels)[None]  # [1, N, 4]
        return Prediction(
            logits=priors.new_zeros(*priors.shape[:2], 1),
            boxes=priors,
            priors=priors,
            grid=tuple((*shape, self._priors.per_cell) for shape in levels.spatial_shapes),
            levels=torch.arange(len(numbers)).repeat_interleave(numbers),
            strides=torch.tensor(self._strides, dtype=torch.float32).repeat_interleave(numbers),
        )


def _checked_strides(name: str, strides: Sequence[int]) -> tuple[int, ...]:
    if not require_list(name, strides):
        raise ValueError(f"{name} must name at least one level, got none")
    return tuple(require_int(name, stride, low=1) for stride in strides)


def _levels(strides: Sequence[int], size: Size, padded: Size) -> Features:
    """Maps without channels, with the cells that an image of this size has where it is padded to another."""
    shapes = [tuple(math.ceil(side / stride) for side in padded) for stride in strides]
    return Features(
        maps=tuple(torch.zeros(1, 0, *shape) for shape in shapes),
        is_padding=tuple(torch.zeros(1, *shape, dtype=torch.bool) for shape in shapes),
        strides=tuple(strides),
        image_sizes=torch.tensor([size], dtype=torch.float32),
        padded_size=padded,
    )
