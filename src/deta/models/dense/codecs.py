"""How a dense head writes a box: from a code, around a prior, to a box."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from deta.ops.deltas import decode_deltas
from deta.utils.checks import require_bool, require_choice, require_int, require_number

LARGEST_LOG = math.log(1000 / 16)
"""Of the change of a side in the public releases of Faster R-CNN and RetinaNet."""


class Codec(Protocol):
    """From a code to a box.

    Attributes:
        size: Numbers of a code.
    """

    size: int

    def __call__(self, code: Tensor, priors: Tensor, strides: Tensor) -> Tensor:
        """``[B, N, ..., 4]`` ``cxcywh`` in pixels.

        Args:
            code: ``[B, N, ..., size]`` float32.
            priors: ``[N, 4]`` ``cxcywh`` in pixels, or whatever broadcasts to ``[B, N, ..., 4]``.
            strides: ``[N]`` pixels between cells, or whatever broadcasts to ``[B, N, ...]``.
        """
        ...


class DeltaCodec:
    """Shift of the centre and logarithm of the change of the sides, of a prior. Source: arXiv:1506.01497, eq. 2.

    Args:
        factors: On the four numbers of a code; 10, 10, 5, 5 in Faster R-CNN, 1 in RetinaNet.
        largest_log: Logarithms count as at most this.
        both: Whether they also count as at least minus that.
        origin: Of the shift: the ``centre`` of the prior, or its ``corner`` as in YOLOX (arXiv:1804.02767, sec. 2.1).
    """

    size = 4

    def __init__(
        self,
        *,
        factors: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
        largest_log: float = LARGEST_LOG,
        both: bool = False,
        origin: str = "centre",
    ) -> None:
        self.factors = tuple(require_number("codec.factors", factor, low=1e-3) for factor in factors)
        if len(self.factors) != 4:
            raise ValueError(f"model.body.codec.factors must be four numbers, got {list(factors)}")
        self.largest_log = require_number("codec.largest_log", largest_log, low=0)
        self.both = require_bool("codec.both", both)
        self.origin = require_choice("codec.origin", origin, ("centre", "corner"))

    def __call__(self, code: Tensor, priors: Tensor, strides: Tensor) -> Tensor:
        """``[B, N, ..., 4]``."""
        del strides
        deltas = torch.stack([code[..., k] / factor for k, factor in enumerate(self.factors)], dim=-1)  # [..., 4]
        if self.both:
            limited = deltas[..., 2:].clamp(-self.largest_log, self.largest_log)
            deltas = torch.cat((deltas[..., :2], limited), dim=-1)
        if self.origin == "corner":
            priors = torch.cat((priors[..., :2] - priors[..., 2:] / 2, priors[..., 2:]), dim=-1)  # [..., 4]
        return decode_deltas(priors.expand_as(deltas), deltas, self.largest_log)


class DistanceCodec:
    """Distances from the centre of the prior to the four sides, left, top, right, bottom. Source: arXiv:1904.01355.

    Args:
        unit: Of a distance: the ``side`` of the prior, or the ``stride``.
    """

    size = 4

    def __init__(self, *, unit: str = "side") -> None:
        self.unit = require_choice("codec.unit", unit, ("side", "stride"))

    def __call__(self, code: Tensor, priors: Tensor, strides: Tensor) -> Tensor:
        """``[B, N, ..., 4]``."""
        unit = priors[..., 2] if self.unit == "side" else strides
        return _around(priors, code * unit[..., None])


class CentreCodec:
    """Centre from the corner of the cell and sides, both in strides. Source: arXiv:1904.07850 (CenterNet), sec. 3."""

    size = 4

    def __call__(self, code: Tensor, priors: Tensor, strides: Tensor) -> Tensor:
        """``[B, N, ..., 4]``; priors lie at the corners of cells."""
        pixels = code * strides[..., None]
        return torch.cat((priors[..., :2] + pixels[..., :2], pixels[..., 2:]), dim=-1)


class DistributionCodec:
    """The same distances, in strides, as the mean of a distribution over whole numbers. Source: arXiv:2006.04388.

    Args:
        bins: Numbers from 0 on.
    """

    def __init__(self, *, bins: int = 17) -> None:
        self.bins = require_int("codec.bins", bins, low=2)
        self.size = 4 * bins

    def __call__(self, code: Tensor, priors: Tensor, strides: Tensor) -> Tensor:
        """``[B, N, ..., 4]``."""
        numbers = torch.arange(self.bins, device=code.device, dtype=torch.float32)
        distances = (code.unflatten(-1, (4, self.bins)).softmax(-1) * numbers).sum(-1)  # [..., 4]
        return _around(priors, distances * strides[..., None])


def _around(priors: Tensor, distances: Tensor) -> Tensor:
    """``cxcywh`` of ``[..., 4]`` distances in pixels from the centre of a prior."""
    before, after = distances.split(2, dim=-1)
    return torch.cat((priors[..., :2] + (after - before) / 2, before + after), dim=-1)
