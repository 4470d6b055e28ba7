"""Detectors that take milliseconds."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from deta.models import ConvBackbone, Decoder, Detector, Encoder, EncoderProposals, LearnedQueries, Neck, QueryBody
from deta.models.position import valid_size
from deta.models.query.selection import Selection, TopKPerLevel
from deta.models.query.tokens import FeatureTokens
from deta.structures import Features

HIDDEN_DIM = 32
SMALL: dict[str, Any] = {"hidden_dim": HIDDEN_DIM, "num_levels": 4, "num_layers": 2, "num_heads": 4, "ffn_dim": 48}


def tiny_detector(
    *,
    selection: Selection | None = None,
    learned: bool = False,
    refine: str = "iterative",
    num_queries: int = 20,
    num_classes: int = 3,
    seed: int = 0,
) -> Detector:
    """A two-stage detector with four levels, or one with learned queries."""
    torch.manual_seed(seed)
    selection = selection or TopKPerLevel()
    source = (
        LearnedQueries(hidden_dim=HIDDEN_DIM, num_queries=num_queries)
        if learned
        else EncoderProposals(hidden_dim=HIDDEN_DIM, num_queries=num_queries, selection=selection)
    )
    return Detector(
        num_classes=num_classes,
        backbone=ConvBackbone(channels=(8, 16, 16), num_blocks=1, stem_channels=8),
        neck=partial(Neck, hidden_dim=HIDDEN_DIM, num_levels=4),
        body=partial(
            QueryBody,
            hidden_dim=HIDDEN_DIM,
            encoder=Encoder(**SMALL),
            source=source,
            decoder=Decoder(refine=refine, **SMALL),
        ),
    )


def query_body(detector: nn.Module) -> QueryBody:
    """The body of a detector that is one of queries."""
    assert isinstance(detector, Detector)
    assert isinstance(detector.body, QueryBody)
    return detector.body


def images(height: int = 64, width: int = 96, *, num_images: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random uint8 images and their padding: none on the first, a quarter of each side on the others."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (num_images, 3, height, width), dtype=torch.uint8, generator=generator)
    is_padding = torch.zeros(num_images, height, width, dtype=torch.bool)
    is_padding[1:, height * 3 // 4 :] = True
    is_padding[1:, :, width * 3 // 4 :] = True
    return pixels.masked_fill(is_padding[:, None], 0), is_padding


def levels(masks: Sequence[Tensor], *, hidden_dim: int = HIDDEN_DIM, seed: int = 0) -> Features:
    """Random maps for the padding masks ``[B, h, w]`` of every level, the finest of stride 8."""
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(len(mask), hidden_dim, *mask.shape[1:], generator=generator) for mask in masks]
    strides = tuple(8 * 2**level for level in range(len(masks)))
    return Features(tuple(maps), tuple(masks), strides, 8 * valid_size(masks[0]).flip(1))


def tokens(masks: Sequence[Tensor], *, hidden_dim: int = HIDDEN_DIM, seed: int = 0) -> FeatureTokens:
    """Random tokens for the padding masks ``[B, h, w]`` of every level."""
    return FeatureTokens.of(levels(masks, hidden_dim=hidden_dim, seed=seed))
