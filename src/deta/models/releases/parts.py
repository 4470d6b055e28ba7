"""Pairs of names that several publications share."""

from deta.models.releases.layout import Pair, below, head

BACKBONE: tuple[Pair, ...] = (("backbone.0.body.", "backbone.body."),)
LEVELS: tuple[Pair, ...] = (("input_proj.#.", "neck.projections.#."),)
ONE_LEVEL: tuple[Pair, ...] = (("input_proj.", "neck.projections.0.0."),)

_SAMPLED = ("sampling_offsets.", "attention_weights.", "value_proj.", "output_proj.")
_MULTI_HEAD = ("in_proj_", "out_proj.")
_ENCODER, _DECODER = ((f"transformer.{part}.layers.#.", f"body.{part}.layers.#.") for part in ("encoder", "decoder"))
_LINEAR = ("linear1.", "ffn.linear1."), ("linear2.", "ffn.linear2.")
_ENCODER_BEHIND = below(*_ENCODER, (("norm1.", "attention_norm."), *_LINEAR, ("norm2.", "ffn.norm.")))
_IN_ORDER = (
    ("norm1.", "self_attention_norm."),
    ("norm2.", "cross_attention_norm."),
    *_LINEAR,
    ("norm3.", "ffn.norm."),
)
"""Norms of a decoder layer in the order of its parts; those of the deformable ones are not."""


def _attention(published: str, ours: str, parts: tuple[str, ...]) -> tuple[Pair, ...]:
    return tuple((f"{published}.{part}", f"{ours}.{part}") for part in parts)


DEFORMABLE_ENCODER = (
    ("transformer.level_embed", "body.encoder.level_embed"),
    *below(*_ENCODER, _attention("self_attn", "attention", _SAMPLED)),
    *_ENCODER_BEHIND,
)
DENSE_ENCODER = (*below(*_ENCODER, _attention("self_attn", "attention", _MULTI_HEAD)), *_ENCODER_BEHIND)
SCALED_ENCODER = (
    *DENSE_ENCODER,
    ("transformer.encoder.query_scale.", "body.encoder.position_scale."),
    *below(*_ENCODER, (("activation.", "ffn.activation."),)),
)
"""That of DAB-DETR: the position is scaled by a function of the content, and the activation is learned."""

DEFORMABLE_DECODER = below(
    *_DECODER,
    (
        *_attention("cross_attn", "cross_attention", _SAMPLED),
        ("norm1.", "cross_attention_norm."),
        *_attention("self_attn", "self_attention", _MULTI_HEAD),
        ("norm2.", "self_attention_norm."),
        *_LINEAR,
        ("norm3.", "ffn.norm."),
    ),
)
DENSE_DECODER = (
    *below(
        *_DECODER,
        (
            *_attention("self_attn", "self_attention", _MULTI_HEAD),
            *_attention("multihead_attn", "cross_attention", _MULTI_HEAD),
            *_IN_ORDER,
        ),
    ),
    ("transformer.decoder.norm.", "body.decoder.norm."),
)
_CONDITIONAL = (
    *below(
        *_DECODER,
        (
            ("sa_qcontent_proj.", "self_attention.content_query."),
            ("sa_qpos_proj.", "self_attention.position_query."),
            ("sa_kcontent_proj.", "self_attention.content_key."),
            ("sa_kpos_proj.", "self_attention.position_key."),
            ("sa_v_proj.", "self_attention.value."),
            ("self_attn.out_proj.", "self_attention.output."),
            ("ca_qcontent_proj.", "cross_attention.content_query."),
            ("ca_qpos_proj.", "cross_attention.position_query."),
            ("ca_kcontent_proj.", "cross_attention.content_key."),
            ("ca_kpos_proj.", "cross_attention.position_key."),
            ("ca_v_proj.", "cross_attention.value."),
            ("ca_qpos_sine_proj.", "cross_attention.sine_query."),
            *_IN_ORDER,
        ),
    ),
    ("transformer.decoder.norm.", "body.decoder.norm."),
    ("transformer.decoder.query_scale.", "body.decoder.position_scale."),
)
CONDITIONAL_DECODER = (*_CONDITIONAL, *below(*_DECODER, (("cross_attn.out_proj.", "cross_attention.output."),)))
LEVELED_DECODER = (
    *_CONDITIONAL,
    *below(*_DECODER, (("ca_out_v_proj.", "cross_attention.output."), ("lvl_attn.", "cross_attention.level_weights."))),
)
"""A conditional decoder over several levels."""
MODULATION = (
    ("transformer.decoder.ref_point_head.", "body.decoder.position_head."),
    ("transformer.decoder.ref_anchor_head.", "body.decoder.modulation."),
)
LEARNED_ACTIVATION = below(*_DECODER, (("activation.", "ffn.activation."),))

ONE_HEAD = head("class_embed", "bbox_embed", "body.heads.0")
"""A head that serves every layer."""
HEADS = head("class_embed.#", "bbox_embed.#", "body.heads.#")
CLASSES_AGAIN, *BOXES_AGAIN = head(
    "transformer.decoder.class_embed.#", "transformer.decoder.bbox_embed.#", "body.heads.#"
)
"""Heads that refine boxes inside the decoder are published there too."""
_FIRST_STAGE = (
    *head("class_embed.{layers}", "bbox_embed.{layers}", "body.source.head"),
    *head("transformer.decoder.class_embed.{layers}", "transformer.decoder.bbox_embed.{layers}", "body.source.head"),
)
PROPOSALS: tuple[Pair, ...] = (
    ("transformer.enc_output.", "body.source.memory_projection."),
    ("transformer.enc_output_norm.", "body.source.memory_norm."),
)
TWO_STAGE = (
    *LEVELS,
    *DEFORMABLE_ENCODER,
    *DEFORMABLE_DECODER,
    *PROPOSALS,
    ("transformer.pos_trans.", "body.source.position_projection."),
    ("transformer.pos_trans_norm.", "body.source.position_norm."),
    *_FIRST_STAGE,
    *HEADS,
    CLASSES_AGAIN,
    *BOXES_AGAIN,
)
"""Two-stage Deformable DETR; the head of its first stage is the one behind that of the last layer."""
