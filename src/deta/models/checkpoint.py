"""Checkpoints of the public DETA and Deformable DETR releases: their names and ours, both ways.

The releases store every head twice when it also serves inside the decoder (``class_embed`` and
``transformer.decoder.class_embed``); here it exists once. The head of the first stage is their last one.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deta.models.detector import Detector
from deta.models.query.body import QueryBody
from deta.models.weights import load_strictly, read_state_dict

PREFIXES = (  # release, ours; # stands for a number
    ("backbone.0.body.", "backbone.body."),
    ("input_proj.", "neck.projections."),
    ("transformer.level_embed", "body.encoder.level_embed"),
    ("transformer.encoder.layers.#.self_attn.", "body.encoder.layers.#.attention."),
    ("transformer.encoder.layers.#.norm1.", "body.encoder.layers.#.attention_norm."),
    ("transformer.encoder.layers.#.norm2.", "body.encoder.layers.#.ffn.norm."),
    ("transformer.encoder.layers.#.linear", "body.encoder.layers.#.ffn.linear"),
    ("transformer.decoder.layers.#.cross_attn.", "body.decoder.layers.#.cross_attention."),
    ("transformer.decoder.layers.#.norm1.", "body.decoder.layers.#.cross_attention_norm."),
    ("transformer.decoder.layers.#.self_attn.", "body.decoder.layers.#.self_attention."),
    ("transformer.decoder.layers.#.norm2.", "body.decoder.layers.#.self_attention_norm."),
    ("transformer.decoder.layers.#.norm3.", "body.decoder.layers.#.ffn.norm."),
    ("transformer.decoder.layers.#.linear", "body.decoder.layers.#.ffn.linear"),
    ("transformer.enc_output.", "body.source.memory_projection."),
    ("transformer.enc_output_norm.", "body.source.memory_norm."),
    ("transformer.pos_trans.", "body.source.position_projection."),
    ("transformer.pos_trans_norm.", "body.source.position_norm."),
    ("transformer.pix_trans.", "body.source.content_projection."),
    ("transformer.pix_trans_norm.", "body.source.content_norm."),
    ("transformer.reference_points.", "body.source.reference_points."),
    ("query_embed.", "body.source.query_embed."),
    ("class_embed.#.", "body.heads.#.class_logits."),
    ("bbox_embed.#.layers.0.", "body.heads.#.box_deltas.first."),
    ("bbox_embed.#.layers.1.", "body.heads.#.box_deltas.second."),
    ("bbox_embed.#.layers.2.", "body.heads.#.box_deltas.last."),
)
TIED = "transformer.decoder."
"""Under this prefix the releases repeat ``class_embed`` (two-stage) and ``bbox_embed`` (box refinement)."""
FIRST_STAGE = "body.source.head."
HEADS = "body.heads."


def from_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the releases; the number of levels and layers is free.

    Raises:
        ValueError: A name that the releases do not have, or heads that should be one and differ.
    """
    num_layers = _count_layers(state, "transformer.decoder.layers.")
    is_two_stage = any(name.startswith("transformer.enc_output.") for name in state)
    refines = any(name.startswith(f"{TIED}bbox_embed.") for name in state)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith((f"{TIED}class_embed.", f"{TIED}bbox_embed.")):
            _require_equal(state, name, name.removeprefix(TIED))
            continue
        own = _rename(name, from_index=0)
        if is_two_stage and own.startswith(f"{HEADS}{num_layers}."):
            own = own.replace(f"{HEADS}{num_layers}.", FIRST_STAGE, 1)
        elif own.startswith(HEADS) and not refines:
            first = re.sub(r"\d+", "0", name, count=1)
            _require_equal(state, name, first)
            own = _rename(first, from_index=0)
        renamed[own] = tensor
    return renamed


def to_release(detector: Detector) -> dict[str, Tensor]:
    """State dict of ``detector`` under the names of the releases, with their repeated heads.

    Raises:
        ValueError: A part that the releases do not have.
    """
    state, body = detector.state_dict(), detector.body
    if not isinstance(body, QueryBody):
        raise ValueError(f"model.body must be a QueryBody, which alone was released, got {type(body).__name__}")
    num_layers = body.decoder.num_layers
    is_two_stage = any(name.startswith(FIRST_STAGE) for name in state)
    refines = body.decoder.refine == "iterative"
    if is_two_stage and not refines:
        raise ValueError(
            "model.body.decoder.refine must be iterative: the releases have no first stage without refinement"
        )
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        own = name.replace(FIRST_STAGE, f"{HEADS}{num_layers}.", 1) if name.startswith(FIRST_STAGE) else name
        release = _rename(own, from_index=1)
        copies = [release]
        if own.startswith(HEADS) and not refines:
            copies = [re.sub(r"\d+", str(layer), release, count=1) for layer in range(num_layers)]
        for copy in copies:
            renamed[copy] = tensor
            if (copy.startswith("class_embed.") and is_two_stage) or (copy.startswith("bbox_embed.") and refines):
                renamed[TIED + copy] = tensor
    return renamed


def load_release(detector: Detector, path: Path | str) -> None:
    """Load a published checkpoint file into ``detector``, all of it.

    The published first stage has as many class outputs as there are categories: ``source.num_classes`` must
    say so, and ``num_classes`` is 91 for COCO.

    Raises:
        ValueError: Anything missing, unexpected or of another shape.
    """
    load_strictly(detector, from_release(read_state_dict(path)), str(path))


def _rename(name: str, *, from_index: int) -> str:
    for pair in PREFIXES:
        source, target = pair[from_index], pair[1 - from_index]
        match = re.match(re.escape(source).replace(r"\#", r"(\d+)"), name)
        if match:
            number = match.group(1) if match.groups() else ""
            return target.replace("#", number) + name[match.end() :]
    kind = "release" if from_index == 0 else "detector"
    raise ValueError(f"weights: the {kind}'s {name!r} has no counterpart")


def _count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _require_equal(state: Mapping[str, Tensor], first: str, second: str) -> None:
    if second not in state or not torch.equal(state[first], state[second]):
        raise ValueError(f"weights: {first} and {second} must both exist and be equal; they are one parameter")
