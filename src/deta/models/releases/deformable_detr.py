"""Deformable DETR: arXiv:2010.04159, github.com/fundamentalvision/Deformable-DETR."""

from deta.models.releases.layout import Release, head
from deta.models.releases.parts import (
    BACKBONE,
    BOXES_AGAIN,
    DEFORMABLE_DECODER,
    DEFORMABLE_ENCODER,
    HEADS,
    LEVELS,
    TWO_STAGE,
)

_LEARNED = (
    *LEVELS,
    *DEFORMABLE_ENCODER,
    *DEFORMABLE_DECODER,
    ("transformer.reference_points.", "body.source.reference_points."),
    ("query_embed.", "body.source.query_embed."),
)
PLAIN = Release(
    "Deformable DETR", (*_LEARNED, *head("class_embed.#", "bbox_embed.#", "body.heads.0")), optional=BACKBONE
)
"""Its one head is published once for each layer."""
REFINE = Release("Deformable DETR with box refinement", (*_LEARNED, *HEADS, *BOXES_AGAIN), optional=BACKBONE)
DEFORMABLE_TWO_STAGE = Release("two-stage Deformable DETR", TWO_STAGE, optional=BACKBONE)
"""The improved baseline of H-DETR without mixed selection too."""
