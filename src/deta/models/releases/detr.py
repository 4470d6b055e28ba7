"""DETR: arXiv:2005.12872, github.com/facebookresearch/detr."""

from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE, DENSE_DECODER, DENSE_ENCODER, ONE_HEAD, ONE_LEVEL

DETR = Release(
    "DETR",
    (
        *ONE_LEVEL,
        *DENSE_ENCODER,
        *DENSE_DECODER,
        ("query_embed.", "body.source.query_embed."),
        *ONE_HEAD,
    ),
    optional=(*BACKBONE, ("transformer.encoder.norm.", "body.encoder.norm.")),
)
