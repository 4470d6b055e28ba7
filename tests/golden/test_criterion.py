"""Losses, their gradients and the assignments behind them against the reference implementation."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from deta.assign import Assigner, HungarianAssigner, ReleaseAssigner
from deta.losses import Criterion, cardinality_error, class_error
from deta.structures import DetectionOutput, GroupSlice, LayerPrediction, Losses, Proposals, Targets
from tests.golden.scenes import assert_pairs, case_targets

if TYPE_CHECKING:
    from tests.golden.conftest import GoldenCase

TERMS = {"loss_ce": "class", "loss_bbox": "l1", "loss_giou": "giou"}


def make_criterion(config: dict[str, Any]) -> Criterion:
    """The criterion of a case with the release's rules."""

    def assigner(is_iou: bool, rule: Assigner) -> Assigner:
        hungarian = {
            "class_weight": config.get("set_cost_class", 2),
            "l1_weight": config.get("set_cost_bbox", 5),
            "giou_weight": config.get("set_cost_giou", 2),
        }
        return rule if is_iou else HungarianAssigner(**hungarian)

    k = config.get("k", 4)
    first = ReleaseAssigner(
        tau=config.get("stage1_t", [0.7])[-1], num_samples=256, positive_fraction=0.5, max_per_target=k
    )
    second = ReleaseAssigner(tau=config.get("stage2_t", 0.6), max_per_target=k)
    has_first_stage = config.get("enc", config.get("two_stage", False))
    return Criterion(
        proposal_assigner=assigner(config["assign_first_stage"], first) if has_first_stage else None,
        layer_assigner=assigner(config["assign_second_stage"], second),
        rematch="once" if config["assign_second_stage"] else "per_layer",
        class_weight=config["cls_loss_coef"],
        l1_weight=config["bbox_loss_coef"],
        giou_weight=config["giou_loss_coef"],
    )


def stage_of(suffix: str, num_layers: int) -> str:
    """Our name of the stage that the reference marks by a suffix: none is the last layer."""
    if suffix == "":
        return f"layer{num_layers - 1}"
    return "proposals" if suffix == "enc" else f"layer{suffix}"


@pytest.mark.golden("criterion")
def test_criterion_equals_reference(case: "GoldenCase") -> None:
    inputs = {name: value.clone() for name, value in case.inputs.items()}
    leaves = {name: inputs[name].requires_grad_() for name in inputs if "pred_" in name}
    output, targets = _output(inputs, case.config["n_aux"]), case_targets(case)
    losses = make_criterion(case.config)(output, targets)
    losses.total.backward()
    torch.testing.assert_close(losses.total.detach(), case.outputs["total"], rtol=1e-5, atol=1e-6)
    _assert_assignments(case, losses)
    for name, expected in case.outputs.items():
        folder, _, key = name.partition("/")
        if folder == "loss":
            found = entry(key, losses, output, targets)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        elif folder == "grad":
            grad = leaves[key].grad
            torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


def _output(inputs: dict[str, Tensor], num_auxiliary: int) -> DetectionOutput:
    prefixes = [f"aux{index}_" for index in range(num_auxiliary)] + [""]
    layers = tuple(
        LayerPrediction(inputs[f"{prefix}pred_logits"], inputs[f"{prefix}pred_boxes"], inputs["init_reference"])
        for prefix in prefixes
    )
    proposals = None
    if "enc_pred_logits" in inputs:
        proposals = Proposals(
            logits=inputs["enc_pred_logits"],
            boxes=inputs["enc_pred_boxes"],
            anchors=inputs["anchors"],
            is_valid=torch.ones(inputs["anchors"].shape[:2], dtype=torch.bool),
            levels=torch.zeros(inputs["anchors"].shape[1], dtype=torch.int64),
            selected=torch.zeros(len(inputs["anchors"]), 0, dtype=torch.int64),
        )
    num_queries = inputs["pred_logits"].shape[1]
    return DetectionOutput(layers, proposals, (GroupSlice("main", 0, num_queries),))


def entry(key: str, losses: Losses, output: DetectionOutput, targets: Targets) -> Tensor:
    """Our value of the reference's entry ``<term>`` or ``<term>_<stage>``."""
    term = next(name for name in (*TERMS, "class_error", "cardinality_error") if key.startswith(name))
    stage = stage_of(key.removeprefix(term).removeprefix("_"), len(output.layers))
    if term in TERMS:
        return losses.terms[f"{stage}/{TERMS[term]}"].detach()
    if stage == "proposals":
        assert output.proposals is not None
        logits = output.proposals.logits
    else:
        logits = output.layers[int(stage.removeprefix("layer"))].logits
    if term == "class_error":
        return class_error(logits, losses.matches[stage], targets)
    return cardinality_error(logits, targets)


def _assert_assignments(case: "GoldenCase", losses: Losses) -> None:
    last = f"layer{case.config['n_aux']}"
    stages = {"dec": last, "enc": "proposals"} | {f"aux{i}": f"layer{i}" for i in range(case.config["n_aux"])}
    for name, stage in stages.items():
        if f"pairs_{name}" in case.outputs:
            pairs, counts = case.outputs[f"pairs_{name}"], case.outputs[f"pair_counts_{name}"]
            assert_pairs(losses.matches[stage], pairs, counts)
