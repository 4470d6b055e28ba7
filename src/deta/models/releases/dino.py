"""DINO: arXiv:2203.03605, github.com/IDEA-Research/DINO."""

from deta.models.releases.layout import Release, below, head
from deta.models.releases.parts import BACKBONE, DEFORMABLE_DECODER, DEFORMABLE_ENCODER, LEVELS, PROPOSALS

_PARTS = (
    *LEVELS,
    *DEFORMABLE_ENCODER,
    *DEFORMABLE_DECODER,
    ("transformer.decoder.norm.", "body.decoder.norm."),
    ("transformer.decoder.ref_point_head.", "body.decoder.position_head."),
    *PROPOSALS,
    *head("transformer.enc_out_class_embed", "transformer.enc_out_bbox_embed", "body.source.head"),
    ("transformer.tgt_embed.", "body.source.content."),
    ("label_enc.", "body.source.labels."),
    *head("class_embed.#", "bbox_embed.#", "body.heads.0"),
    *head("transformer.decoder.class_embed.#", "transformer.decoder.bbox_embed.#", "body.heads.0"),
)
"""One head of the layers, published twice for each; that of the first stage is another one."""
DINO = Release("DINO", _PARTS, optional=BACKBONE)
DINO_SWIN = Release(
    "DINO on Swin", (*_PARTS, *below("backbone.0.", "backbone.body.", ("patch_embed.", "layers.", "norm")))
)
"""Its backbone lies one level higher."""
