"""What the parts of the detector hand to each other."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deta.structures import TensorStruct


@dataclass(frozen=True)
class FeatureTokens(TensorStruct):
    """Feature maps of all levels as one sequence: levels concatenated, row-major inside a level.

    ``S`` is the number of tokens. All sizes are known on the host without asking the device.

    Attributes:
        tokens: ``[B, S, D]``.
        is_padding: ``[B, S]`` bool, True on padding.
        valid_sizes: ``[B, L, 2]`` float32 ``(width, height)`` of the unpadded part of each level, in cells.
        valid_ratios: ``[B, L, 2]`` float32, the same as fraction of the level.
        spatial_shapes: ``(height, width)`` of every level, finest first.
    """

    tokens: Tensor
    is_padding: Tensor
    valid_sizes: Tensor
    valid_ratios: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]

    def level_sizes(self) -> tuple[int, ...]:
        """Number of tokens of every level."""
        return tuple(height * width for height, width in self.spatial_shapes)

    def levels(self) -> Tensor:
        """``[S]`` int64 level of every token."""
        device = self.tokens.device
        sizes = enumerate(self.level_sizes())
        return torch.cat([torch.full((size,), level, dtype=torch.int64, device=device) for level, size in sizes])


@dataclass(frozen=True)
class Queries(TensorStruct):
    """Where the decoder starts.

    Attributes:
        content: ``[B, Q, D]`` what the layers change.
        position: ``[B, Q, D]`` added to the content wherever attention looks at it.
        references: ``[B, Q, 4]`` ``cxcywh`` boxes or ``[B, Q, 2]`` points, float32, relative to the unpadded
            image.
        source: ``[B, Q]`` int64 position of the first stage that each was made of; None for learned queries.
        block: ``[Q]`` int64; queries of one group see those of their own block alone. None is one block.
        given: ``[B, Q]`` int64 object that each was made for, see ``Prediction.given``.
        exists: ``[B, Q]`` bool, see ``Prediction.exists``.
    """

    content: Tensor
    position: Tensor
    references: Tensor
    source: Tensor | None = None
    block: Tensor | None = None
    given: Tensor | None = None
    exists: Tensor | None = None
