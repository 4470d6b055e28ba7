"""Encoded images on which parts that make queries are checked, and the form of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deta.models import FeatureTokens, Queries
from deta.models.position import valid_size
from deta.structures import Features, Prediction, Targets, TensorStruct
from deta.testing.harness import require, require_tensor
from deta.testing.scenes import objects


@dataclass(frozen=True)
class Memory(TensorStruct):
    """Padding of feature maps, and objects of the images.

    Attributes:
        name: What is special about it.
        masks: ``[B, h, w]`` of every level, True on padding.
        targets: For groups that are made of objects.
    """

    name: str
    masks: tuple[Tensor, ...]
    targets: Targets

    def __str__(self) -> str:
        return self.name

    def tokens(self, hidden_dim: int) -> FeatureTokens:
        """Random tokens."""
        generator = torch.Generator().manual_seed(0)
        maps = [torch.randn(len(mask), hidden_dim, *mask.shape[1:], generator=generator) for mask in self.masks]
        strides = tuple(8 * 2**level for level in range(len(maps)))
        sizes = strides[0] * valid_size(self.masks[0]).flip(1)  # (height, width)
        return FeatureTokens.of(Features(tuple(maps), self.masks, strides, sizes))


def memories() -> list[Memory]:
    """Feature maps as they come, and those that break sources."""
    return [
        memory("maps with padding"),
        memory("no object in any image", counts=(0, 0, 0)),
        memory("one image without padding", counts=(2,)),
        memory("maps of one cell", shapes=((1, 1), (1, 1))),
    ]


def memory(
    name: str, *, shapes: Sequence[tuple[int, int]] = ((7, 9), (4, 5)), counts: Sequence[int] = (3, 0, 1)
) -> Memory:
    """Maps of which the second image fills half, and the third one cell."""
    masks = []
    for height, width in shapes:
        mask = torch.zeros(len(counts), height, width, dtype=torch.bool)
        mask[1:2, :, (width + 1) // 2 :] = True
        mask[2:, :, 1:] = True
        mask[2:, 1:] = True
        masks.append(mask)
    generator = torch.Generator().manual_seed(0)
    return Memory(name, tuple(masks), objects(counts, 6, generator))


def require_queries(queries: Queries, num_images: int, hidden_dim: int) -> None:
    """Require shapes, types and ranges of ``Queries``.

    Raises:
        AssertionError: One is another.
    """
    count = queries.content.shape[1]
    require(tuple(queries.content.shape) == (num_images, count, hidden_dim), "content must be [B, Q, D]")
    if queries.position is not None:
        require(queries.position.shape == queries.content.shape, "position and content must have one shape")
    if queries.references is not None:
        shape = (num_images, count, queries.references.shape[-1])
        require_tensor(queries.references, "references", shape, torch.float32)
        require(bool(((queries.references >= 0) & (queries.references <= 1)).all()), "references leave 0..1")
    if queries.block is not None:
        require_tensor(queries.block, "Queries.block", (count,), torch.int64)
    for name, dtype in (("given", torch.int64), ("exists", torch.bool)):
        values = getattr(queries, name)
        if values is not None:
            require_tensor(values, f"Queries.{name}", (num_images, count), dtype)


def parts_of(queries: Queries, first: Prediction | None = None) -> dict[str, Tensor]:
    """All tensors by name."""
    parts: dict[str, Any] = {name: value for name, value in vars(queries).items() if value is not None}
    if first is not None:
        parts |= {f"{name} of the first stage": getattr(first, name) for name in ("logits", "boxes")}
    return parts
