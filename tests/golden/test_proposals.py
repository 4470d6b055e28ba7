"""Initial boxes and the choice of queries against the reference implementation."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.models import EncoderProposals
from deta.models.position import valid_size
from deta.models.query.anchors import encoder_anchors
from deta.models.query.selection import Selection, TopKPerLevel, TopKPositions
from deta.models.query.tokens import FeatureTokens
from deta.structures import Features

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("gen_proposals")
def test_initial_boxes_equal_reference(case: "ReferenceCase") -> None:
    memory = _memory(case)
    anchors, is_valid = encoder_anchors(memory, scale=case.config["base"], growth=2.0)
    _assert_close(anchors, case.outputs["output_proposals"])
    _assert_close(anchors.logit(), case.outputs["output_proposals_logit"])
    assert torch.equal(is_valid, case.outputs["output_proposals_logit"].isfinite().all(-1))
    assert torch.equal(memory.levels(), case.outputs["level_ids"])


@pytest.mark.golden("gen_proposals")
def test_projected_memory_equals_reference(case: "ReferenceCase") -> None:
    memory = _memory(case)
    stage = EncoderProposals(hidden_dim=case.config["d_model"], selection=TopKPositions())
    stage.memory_projection.load_state_dict(_part(case, "enc_output."))
    stage.memory_norm.load_state_dict(_part(case, "enc_output_norm."))
    _, is_valid = encoder_anchors(memory, scale=case.config["base"], growth=2.0)
    _assert_close(stage.project(memory.tokens, is_valid).detach(), case.outputs["output_memory"])


@pytest.mark.golden("select")
def test_chosen_positions_equal_reference(case: "ReferenceCase") -> None:
    config = case.config
    scores, boxes = case.inputs["logits"], case.inputs["coords_logit"].sigmoid()
    is_valid = torch.ones_like(scores, dtype=torch.bool)
    level_sizes = [height * width for height, width in case.spatial_shapes()]
    selection: Selection = TopKPositions()
    if config["assign_first_stage"]:
        selection = TopKPerLevel(nms_threshold=config["nms_threshold"], pre_topk=config["pre_nms_topk"])
    found = selection(scores, boxes, is_valid, level_sizes, config["num_queries"])
    assert torch.equal(found, case.outputs["topk_proposals"])
    references = boxes.gather(1, found[..., None].expand(-1, -1, 4))
    _assert_close(references, case.outputs["reference_points"])


@pytest.mark.golden("select")
def test_number_of_survivors_equals_reference(case: "ReferenceCase") -> None:
    config = case.config
    if not config["assign_first_stage"]:
        pytest.skip("no suppression")
    selection = TopKPerLevel(nms_threshold=config["nms_threshold"], pre_topk=config["pre_nms_topk"])
    scores, boxes = case.inputs["logits"], case.inputs["coords_logit"].sigmoid()
    level_sizes = [height * width for height, width in case.spatial_shapes()]
    survives, _, _ = selection.survivors(scores, boxes, torch.ones_like(scores, dtype=torch.bool), level_sizes)
    assert torch.equal(survives.sum(1), case.outputs["n_nms_survivors"])


def _memory(case: "ReferenceCase") -> FeatureTokens:
    shapes, is_padding = case.spatial_shapes(), case.inputs["padding_mask"]
    parts = is_padding.split([height * width for height, width in shapes], dim=1)
    masks = [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
    levels = Features(
        maps=tuple(mask.new_zeros(len(mask), 0, *mask.shape[1:]) for mask in masks),
        is_padding=tuple(masks),
        strides=tuple(2**level for level in range(len(masks))),
        image_sizes=valid_size(masks[0]).flip(1),
    )
    return replace(FeatureTokens.of(levels), tokens=case.inputs["memory"])


def _part(case: "ReferenceCase", prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in case.state.items() if name.startswith(prefix)}


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)
