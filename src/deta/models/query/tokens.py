"""What the parts of a query body hand to each other."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from deta.models.position import map_embedding, valid_ratio, valid_size
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
        spatial_shapes: ``(height, width)`` of every level, finest first.
        strides: Pixels from a cell to the next, of every level; known on the host.
    """

    tokens: Tensor
    position: Tensor
    is_padding: Tensor
    valid_sizes: Tensor
    valid_ratios: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, features: Features, *, temperature: float = 10_000.0, is_centred: bool = True) -> Self:
        """The tokens of feature maps, whose width is the same on every level; positions as in ``map_embedding``."""
        num_features = features.maps[0].shape[1] // 2
        masks = features.is_padding
        embeddings = [
            map_embedding(mask, num_features, temperature=temperature, is_centred=is_centred) for mask in masks
        ]
        return cls(
            tokens=torch.cat([level.flatten(2).transpose(1, 2) for level in features.maps], dim=1),  # [B, S, D]
            position=torch.cat([embedding.flatten(1, 2) for embedding in embeddings], dim=1),  # [B, S, D]
            is_padding=torch.cat([mask.flatten(1) for mask in masks], dim=1),  # [B, S]
            valid_sizes=torch.stack([valid_size(mask) for mask in masks], dim=1),  # [B, L, 2]
            valid_ratios=torch.stack([valid_ratio(mask) for mask in masks], dim=1),  # [B, L, 2]
            spatial_shapes=features.spatial_shapes,
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
        return self._spread(range(len(self.strides)), torch.int64)

    def strides_of_tokens(self) -> Tensor:
        """``[S]`` float32 stride of the level of every token."""
        return self._spread(self.strides, torch.float32)

    def _spread(self, values: Sequence[float], dtype: torch.dtype) -> Tensor:
        parts = zip(values, self.level_sizes(), strict=True)
        return torch.cat([torch.full((size,), value, dtype=dtype, device=self.tokens.device) for value, size in parts])


def made_of(prediction: Prediction, source: Tensor | None, first: Prediction | None) -> Prediction:
    """A prediction of queries that were made of the candidates ``source`` of a first stage, on their level and stride.

    Args:
        prediction: ``[B, Q, ...]``.
        source: ``[B, Q]``, see ``Queries``; None changes nothing.
        first: All candidates of the first stage.
    """
    if source is None or first is None or first.levels is None or first.strides is None:
        return replace(prediction, source=source)
    levels, strides = (take_rows(values.expand(len(source), -1), source) for values in (first.levels, first.strides))
    return replace(prediction, source=source, levels=levels, strides=strides)


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
