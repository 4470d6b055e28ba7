"""FQDet: arXiv:2210.02318, github.com/CedricPicron/FQDet."""

from deta.models.input import IMAGENET_MEAN, IMAGENET_STD
from deta.models.releases.layout import Release

_SCORES = "heads.gvd.group_init_sel.logits."
_LAYER = "heads.gvd.dec_layers.#."
_SAMPLED = f"{_LAYER}0.attn.msda."
_ENCODER = "core.deform_encoder.encoder.layers.#."

FPN = (
    ("core.body.lateral_convs.#.conv.", "neck.laterals.#."),
    ("core.body.fpn_convs.0.conv.", "neck.outputs.0."),
    ("core.body.fpn_convs.1.conv.", "neck.outputs.1."),
    ("core.body.fpn_convs.2.conv.", "neck.outputs.2."),
    ("core.body.fpn_convs.3.conv.", "neck.extras.0."),
    ("core.body.fpn_convs.4.conv.", "neck.extras.1."),
)
DEFORMABLE_ENCODER = (
    *(
        (f"core.in_proj.{level}.{theirs}.", f"neck.projections.{number}.{ours}.")
        for number, level in enumerate(("convs.0", "convs.1", "convs.2", "extra_convs.0", "extra_convs.1"))
        for theirs, ours in (("conv", 0), ("gn", 1))
    ),
    ("core.deform_encoder.lvl_embed", "body.encoder.level_embed"),
    (f"{_ENCODER}self_attn.", "body.encoder.layers.#.attention."),
    (f"{_ENCODER}norms.0.", "body.encoder.layers.#.attention_norm."),
    (f"{_ENCODER}ffn.layers.0.0.", "body.encoder.layers.#.ffn.linear1."),
    (f"{_ENCODER}ffn.layers.1.", "body.encoder.layers.#.ffn.linear2."),
    (f"{_ENCODER}norms.1.", "body.encoder.layers.#.ffn.norm."),
)
HEAD = (
    (f"{_SCORES}pre.0.conv.", "body.source.scores.first.layer."),
    (f"{_SCORES}pre.0.norm.", "body.source.scores.first.norm."),
    (f"{_SCORES}pre.1.proj.conv.", "body.source.scores.reduce.layer."),
    (f"{_SCORES}pre.1.proj.norm.", "body.source.scores.reduce.norm."),
    (f"{_SCORES}pre.1.bottle.conv.", "body.source.scores.middle.layer."),
    (f"{_SCORES}pre.1.bottle.norm.", "body.source.scores.middle.norm."),
    (f"{_SCORES}pre.1.expansion.conv.", "body.source.scores.expand.layer."),
    (f"{_SCORES}pre.1.expansion.norm.", "body.source.scores.expand.norm."),
    (f"{_SCORES}proj.conv.", "body.source.scores.last."),
    ("heads.gvd.group_init_sel.post.0.module_list.#.norm.", "body.source.projections.#.norm."),
    ("heads.gvd.group_init_sel.post.0.module_list.#.lin.", "body.source.projections.#.layer."),
    ("heads.gvd.group_init_sel.box_encoder.0.", "body.source.box_encoding.0."),
    ("heads.gvd.group_init_sel.box_encoder.1.norm.", "body.source.box_encoding.1.norm."),
    ("heads.gvd.group_init_sel.box_encoder.1.lin.", "body.source.box_encoding.1.layer."),
    (f"{_LAYER}0.attn.norm.", "body.decoder.layers.#.cross_attention_norm."),
    (f"{_SAMPLED}sampling_offsets.", "body.decoder.layers.#.cross_attention.sampling_offsets."),
    (f"{_SAMPLED}attn_weights.", "body.decoder.layers.#.cross_attention.attention_weights."),
    (f"{_SAMPLED}val_proj.", "body.decoder.layers.#.cross_attention.value_proj."),
    (f"{_SAMPLED}out_proj.", "body.decoder.layers.#.cross_attention.output_proj."),
    (f"{_LAYER}1.norm.", "body.decoder.layers.#.self_attention_norm."),
    (f"{_LAYER}1.mha.", "body.decoder.layers.#.self_attention."),
    (f"{_LAYER}2.mlp1.norm.", "body.decoder.layers.#.ffn.norm."),
    (f"{_LAYER}2.mlp1.lin.", "body.decoder.layers.#.ffn.linear1."),
    (f"{_LAYER}2.mlp2.lin.", "body.decoder.layers.#.ffn.linear2."),
    *(
        pair
        for number, head in enumerate(("class_logits", "box_deltas"))
        for pair in (
            (f"heads.gvd.heads.{number}.logits.#.norm.", f"body.heads.0.{head}.#.norm."),
            (f"heads.gvd.heads.{number}.logits.#.lin.", f"body.heads.0.{head}.#.layer."),
            (f"heads.gvd.heads.{number}.logits.2.", f"body.heads.0.{head}.2."),
        )
    ),
)
CONSTANTS = {"backbone.in_norm_mean": IMAGENET_MEAN, "backbone.in_norm_std": IMAGENET_STD}
"""How pixels enter, published as if it were of the weights."""
BACKBONE = (("backbone.body.", "backbone.body."),)

FQDET = Release("FQDet with a feature pyramid", (*FPN, *HEAD), optional=BACKBONE, constants=CONSTANTS)
FQDET_ENCODER = Release(
    "FQDet with a deformable encoder", (*DEFORMABLE_ENCODER, *HEAD), optional=BACKBONE, constants=CONSTANTS
)
