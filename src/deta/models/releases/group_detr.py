"""Group DETR: arXiv:2207.13085, github.com/Atten4Vis/ConditionalDETR, branch GroupDETR."""

from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE, CONDITIONAL_DECODER, DENSE_ENCODER, ONE_HEAD, ONE_LEVEL

GROUP_DETR = Release(
    "Group DETR",
    (
        *ONE_LEVEL,
        *DENSE_ENCODER,
        *CONDITIONAL_DECODER,
        ("transformer.decoder.ref_point_head.", "body.source.reference_points."),
        ("query_embed.", "body.source.query_embed."),
        *ONE_HEAD,
    ),
    optional=BACKBONE,
    joined=(("body.source.query_embed.weight", "body.groups.copies.vectors.query_embed.weight"),),
)
