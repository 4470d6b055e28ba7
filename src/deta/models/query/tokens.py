"""What the parts of a query body hand to each other."""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from deta.models.position import cell_centres, cell_grid, count_cells, map_embedding, valid_ratios
from deta.ops.rows import take_rows
from deta.structures import Features, Prediction, TensorStruct


@dataclass(frozen=True)
class FeatureTokens(TensorStruct):
    """Feature maps of all levels as one sequence: levels concatenated, row-major inside a level.

    ``S`` is the number of tokens. All sizes are known on the host without asking the device.

    Attributes:
        tokens: ``[B, S, D]``.
        position: ``[B, S, D]`` float32 sine embedding of the place in the unpadded image.
        is_padding: ``[B, S]`` bool, True on padding.
        valid_sizes: ``[B, L, 2]`` float32 ``(width, height)`` of the unpadded part of each level, in cells.
        valid_ratios: ``[B, L, 2]`` float32, the same as fraction of the level.
        centres: ``[B, S, 2]`` float32 ``(x, y)`` of every cell, relative to the unpadded image; above 1 on padding.
        spatial_shapes: ``(height, width)`` of every level, finest first.
        strides: Pixels from a cell to the next, of every level; known on the host.
    """

    tokens: Tensor
    position: Tensor
    is_padding: Tensor
    valid_sizes: Tensor
    valid_ratios: Tensor
    centres: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, features: Features, *, temperature: float = 10_000.0, is_centred: bool = True) -> Self:
        """The tokens of feature maps, whose width is the same on every level; positions as in ``map_embedding``."""
        shapes = features.spatial_shapes
        is_padding = torch.cat([mask.flatten(1) for mask in features.is_padding], dim=1)  # [B, S]
        counts, totals = count_cells(is_padding, shapes)
        # Padding lies at the bottom and right: the first column and the first row tell.
        levels = totals.split([height * width for height, width in shapes], dim=1)
        valid_sizes = torch.stack([level[:, 0] for level in levels], dim=1).flip(2)  # [B, L, 2]
        grids = [cell_grid(height, width, is_padding.device) for height, width in shapes]
        num_features = features.maps[0].shape[1] // 2
        return cls(
            tokens=torch.cat([level.flatten(2).transpose(1, 2) for level in features.maps], dim=1),  # [B, S, D]
            position=map_embedding(counts, totals, num_features, temperature=temperature, is_centred=is_centred),
            is_padding=is_padding,
            valid_sizes=valid_sizes,
            valid_ratios=valid_ratios(valid_sizes, grids),
            centres=cell_centres(grids, valid_sizes),
            spatial_shapes=shapes,
            strides=features.strides,
        )

    def maps(self) -> tuple[Tensor, ...]:
        """``[B, D, h, w]`` tokens of every level as a map."""
        levels = zip(self.tokens.split(self.level_sizes(), dim=1), self.spatial_shapes, strict=True)
        return tuple(level.transpose(1, 2).unflatten(2, shape) for level, shape in levels)  # [B, D, h, w]

    def level_sizes(self) -> tuple[int, ...]:
        """Number of tokens of every level."""
        return tuple(height * width for height, width in self.spatial_shapes)

    def levels(self) -> Tensor:
        """``[S]`` int64 level of every token."""
        return self.spread(torch.arange(len(self.strides), device=self.tokens.device))

    def strides_of_tokens(self) -> Tensor:
        """``[S]`` float32 stride of the level of every token."""
        sizes = zip(self.level_sizes(), self.strides, strict=True)
        return torch.cat([torch.full((size,), float(stride), device=self.tokens.device) for size, stride in sizes])

    def spread(self, of_levels: Tensor) -> Tensor:
        """``[S, ...]`` for every token what ``[L, ...]`` holds for its level."""
        levels = zip(of_levels.unbind(), self.level_sizes(), strict=True)
        return torch.cat([value.expand(size, *value.shape) for value, size in levels])


def made_of(source: Tensor | None, first: Prediction | None) -> tuple[Tensor | None, Tensor | None]:
    """``[B, Q]`` levels and strides of queries that were made of the candidates ``source`` of a first stage.

    Args:
        source: ``[B, Q]``, see ``Queries``; None gives None.
        first: All candidates of the first stage; without levels it gives None.
    """
    if source is None or first is None or first.levels is None or first.strides is None:
        return None, None
    levels, strides = (
        take_rows(values.expand(source.shape[0], -1), source) for values in (first.levels, first.strides)
    )
    return levels, strides


@dataclass(frozen=True)
class Queries(TensorStruct):
    """Where the decoder starts.

    Attributes:
        content: ``[B, Q, D]`` what the layers change.
        position: ``[B, Q, D]`` added to the content wherever attention looks at it; None where the decoder makes it of
            the references.
        references: ``[B, Q, 4]`` ``cxcywh`` boxes or ``[B, Q, 2]`` points, float32, relative to the unpadded
            image; None where boxes are predicted without.
        source: ``[B, Q]`` int64 position of the first stage that each was made of; None for learned queries.
        block: ``[Q]`` int64; queries of one group see those of their own block alone. None is one block.
        given: ``[B, Q]`` int64 object that each was made for, see ``Prediction.given``.
        exists: ``[B, Q]`` bool, see ``Prediction.exists``.
    """

    content: Tensor
    position: Tensor | None = None
    references: Tensor | None = None
    source: Tensor | None = None
    block: Tensor | None = None
    given: Tensor | None = None
    exists: Tensor | None = None

    @property
    def count(self) -> int:
        """Q."""
        return self.content.shape[1]

    def slice(self, start: int, stop: int) -> Self:
        """The queries ``start:stop``."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        parts = {
            name: value[start:stop] if name == "block" else value[:, start:stop]
            for name, value in values.items()
            if value is not None
        }
        return replace(self, **parts)
