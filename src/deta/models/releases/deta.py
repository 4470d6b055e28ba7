"""DETA: arXiv:2212.06137, github.com/jozhang97/DETA."""

from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE, TWO_STAGE

DETA = Release(
    "DETA",
    (
        *TWO_STAGE,
        ("transformer.pix_trans.", "body.source.content_projection."),
        ("transformer.pix_trans_norm.", "body.source.content_norm."),
    ),
    optional=BACKBONE,
)
