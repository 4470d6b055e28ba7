"""DN-Deformable-DETR: arXiv:2203.01305, github.com/IDEA-Research/DN-DETR."""

from deta.models.releases.dab_deformable_detr import DAB_DEFORMABLE_PARTS
from deta.models.releases.dab_detr import BOXES, PATTERNS
from deta.models.releases.dn_detr import LABELS
from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE, DEFORMABLE_ENCODER, LEVELED_DECODER, LEVELS

DN_DEFORMABLE_DETR = Release(
    "DN-Deformable-DETR",
    (*DAB_DEFORMABLE_PARTS, LABELS),
    optional=(*BACKBONE, ("patterns_embed.", "body.source.patterns.")),
)
ENCODER_ONLY = Release(
    "DN-Deformable-DETR with a deformable encoder only",
    (*LEVELS, *DEFORMABLE_ENCODER, *LEVELED_DECODER, *BOXES, LABELS),
    optional=(*BACKBONE, *PATTERNS),
)
