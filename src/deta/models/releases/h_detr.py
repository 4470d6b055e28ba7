"""H-DETR: arXiv:2207.13080, github.com/HDETR/H-Deformable-DETR."""

from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE, TWO_STAGE

H_DETR = Release(
    "H-DETR",
    (*TWO_STAGE, ("query_embed.", "body.source.content.")),
    optional=BACKBONE,
    joined=(("body.source.content.weight", "body.groups.many.vectors.content.weight"),),
)
