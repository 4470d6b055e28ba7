"""DAB-DETR: arXiv:2201.12329, github.com/IDEA-Research/DAB-DETR."""

from deta.models.releases.layout import Release, head
from deta.models.releases.parts import (
    BACKBONE,
    CONDITIONAL_DECODER,
    LEARNED_ACTIVATION,
    MODULATION,
    ONE_HEAD,
    ONE_LEVEL,
    SCALED_ENCODER,
)

BOXES = (
    *MODULATION,
    *ONE_HEAD,
    *head("class_embed", "transformer.decoder.bbox_embed", "body.heads.0")[1:],
    ("refpoint_embed.", "body.source.boxes."),
)
"""What all that build on it publish: the box head twice."""
PATTERNS = (("transformer.patterns.", "body.source.patterns."),)
DAB_PARTS = (*ONE_LEVEL, *SCALED_ENCODER, *CONDITIONAL_DECODER, *LEARNED_ACTIVATION, *BOXES)
DAB_DETR = Release("DAB-DETR", DAB_PARTS, optional=(*BACKBONE, *PATTERNS))
