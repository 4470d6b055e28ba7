"""FQDet: arXiv:2210.02318, github.com/CedricPicron/FQDet."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from deta.models.input import IMAGENET_MEAN, IMAGENET_STD

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
    ("core.in_proj.convs.#.conv.", "neck.projections.#.0."),
    ("core.in_proj.convs.#.gn.", "neck.projections.#.1."),
    ("core.in_proj.extra_convs.0.conv.", "neck.projections.3.0."),
    ("core.in_proj.extra_convs.0.gn.", "neck.projections.3.1."),
    ("core.in_proj.extra_convs.1.conv.", "neck.projections.4.0."),
    ("core.in_proj.extra_convs.1.gn.", "neck.projections.4.1."),
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
PAIRS = (("backbone.body.", "backbone.body."), *FPN, *DEFORMABLE_ENCODER, *HEAD)
"""Begins of names, published and ours, of three maps of a backbone and two levels beyond; # stands for a number."""
CONVENTION = {"backbone.in_norm_mean": IMAGENET_MEAN, "backbone.in_norm_std": IMAGENET_STD}
"""Published with the weights; here it is part of how pixels enter, not of the weights."""


def from_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under our names.

    Raises:
        ValueError: A name has no counterpart, or the weights were made for pixels of another range.
    """
    for name, expected in CONVENTION.items():
        if name in state and not torch.allclose(state[name].float(), torch.tensor(expected), atol=1e-4):
            raise ValueError(f"weights: {name} must be {list(expected)}, got {state[name].tolist()}")
    return {_rename(name, 0): values for name, values in state.items() if name not in CONVENTION}


def to_release(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours under the published names.

    Raises:
        ValueError: A name has no counterpart.
    """
    convention = {name: torch.tensor(values) for name, values in CONVENTION.items()}
    return convention | {_rename(name, 1): values for name, values in own.items()}


def _rename(name: str, side: int) -> str:
    for pair in PAIRS:
        match = re.match(re.escape(pair[side]).replace(r"\#", r"(\d+)"), name)
        if match is not None:
            target = pair[1 - side]
            return (target.replace("#", match.group(1)) if match.groups() else target) + name[match.end() :]
    raise ValueError(f"weights: {name!r} has no counterpart in the layout of FQDet")
