"""Detectors that take milliseconds."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from deta.models import ConvBackbone, Decoder, Detector, Encoder, EncoderProposals, LearnedQueries, Neck
from deta.models.position import valid_ratio, valid_size
from deta.models.selection import Selection, TopKPerLevel
from deta.models.tokens import FeatureTokens

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
    proposals = (
        LearnedQueries(hidden_dim=HIDDEN_DIM, num_queries=num_queries)
        if learned
        else EncoderProposals(hidden_dim=HIDDEN_DIM, num_queries=num_queries, selection=selection)
    )
    return Detector(
        num_classes=num_classes,
        hidden_dim=HIDDEN_DIM,
        backbone=ConvBackbone(channels=(8, 16, 16), num_blocks=1, stem_channels=8),
        neck=partial(Neck, hidden_dim=HIDDEN_DIM, num_levels=4),
        encoder=Encoder(**SMALL),
        proposals=proposals,
        decoder=Decoder(refine=refine, **SMALL),
    )


def images(height: int = 64, width: int = 96, *, num_images: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random uint8 images and their padding: none on the first, a quarter of each side on the others."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (num_images, 3, height, width), dtype=torch.uint8, generator=generator)
    is_padding = torch.zeros(num_images, height, width, dtype=torch.bool)
    is_padding[1:, height * 3 // 4 :] = True
    is_padding[1:, :, width * 3 // 4 :] = True
    return pixels.masked_fill(is_padding[:, None], 0), is_padding


def tokens(masks: list[Tensor], *, hidden_dim: int = HIDDEN_DIM, seed: int = 0) -> FeatureTokens:
    """Random tokens for the padding masks ``[B, h, w]`` of every level."""
    generator = torch.Generator().manual_seed(seed)
    is_padding = torch.cat([mask.flatten(1) for mask in masks], dim=1)
    return FeatureTokens(
        tokens=torch.randn(*is_padding.shape, hidden_dim, generator=generator),
        is_padding=is_padding,
        valid_sizes=torch.stack([valid_size(mask) for mask in masks], dim=1),
        valid_ratios=torch.stack([valid_ratio(mask) for mask in masks], dim=1),
        spatial_shapes=tuple((mask.shape[1], mask.shape[2]) for mask in masks),
    )
