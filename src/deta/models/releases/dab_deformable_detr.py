"""DAB-Deformable-DETR: arXiv:2201.12329, github.com/IDEA-Research/DAB-DETR."""

from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE, BOXES_AGAIN, DEFORMABLE_DECODER, DEFORMABLE_ENCODER, HEADS, LEVELS

DAB_DEFORMABLE_PARTS = (
    *LEVELS,
    *DEFORMABLE_ENCODER,
    *DEFORMABLE_DECODER,
    ("transformer.decoder.query_scale.", "body.decoder.position_scale."),
    ("transformer.decoder.ref_point_head.", "body.decoder.position_head."),
    ("tgt_embed.", "body.source.content."),
    ("refpoint_embed.", "body.source.boxes."),
    *HEADS,
    *BOXES_AGAIN,
)
DAB_DEFORMABLE_DETR = Release(
    "DAB-Deformable-DETR", DAB_DEFORMABLE_PARTS, optional=(*BACKBONE, ("patterns_embed.", "body.source.patterns."))
)
