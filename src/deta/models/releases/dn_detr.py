"""DN-DETR: arXiv:2203.01305, github.com/IDEA-Research/DN-DETR."""

from deta.models.releases.dab_detr import DAB_PARTS, PATTERNS
from deta.models.releases.layout import Release
from deta.models.releases.parts import BACKBONE

LABELS = ("label_enc.", "body.source.labels.")
DN_DETR = Release("DN-DETR", (*DAB_PARTS, LABELS), optional=(*BACKBONE, *PATTERNS))
