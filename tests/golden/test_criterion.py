"""Losses, their gradients and the assignments behind them against the reference implementation."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from deta.assign import Assigner, Draw, HungarianAssigner, ReleaseAssigner
from deta.losses import Criterion, cardinality_error, class_error
from deta.structures import DetectionOutput, Losses, Prediction, StageKey, Targets
from tests.golden.scenes import assert_pairs, case_targets
from tests.losses.criteria import QueryCriterion

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

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
    return QueryCriterion(
        proposal_assigner=assigner(config["assign_first_stage"], first) if has_first_stage else None,
        layer_assigner=assigner(config["assign_second_stage"], second),
        rematch="once" if config["assign_second_stage"] else "per_layer",
        class_weight=config["cls_loss_coef"],
        l1_weight=config["bbox_loss_coef"],
        giou_weight=config["giou_loss_coef"],
    )


def stage_of(suffix: str, num_layers: int) -> StageKey:
    """Our name of the stage that the reference marks by a suffix: none is the last layer."""
    if suffix == "":
        return StageKey("layers", num_layers - 1)
    return StageKey("first") if suffix == "enc" else StageKey("layers", int(suffix))


@pytest.mark.golden("criterion")
def test_criterion_equals_reference(case: "ReferenceCase") -> None:
    inputs = {name: value.clone() for name, value in case.inputs.items()}
    leaves = {name: inputs[name].requires_grad_() for name in inputs if "pred_" in name}
    output, targets = _output(inputs, case.config["n_aux"]), case_targets(case)
    losses = make_criterion(case.config)(output, targets, Draw.of(0))
    losses.total().backward()
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-5, atol=1e-6)
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
    stages: dict[StageKey, Prediction] = {}
    frame = torch.full((len(inputs["pred_logits"]), 4), 100.0)  # boxes are relative; nothing here is in pixels
    if "enc_pred_logits" in inputs:
        first = (inputs["enc_pred_logits"], inputs["enc_pred_boxes"], inputs["anchors"])
        stages[StageKey("first")] = Prediction(*first, frame)
    references = inputs["init_reference"]
    for layer, prefix in enumerate(prefixes):
        boxes = inputs[f"{prefix}pred_boxes"]
        priors = references if references.shape[-1] == 4 else boxes.detach()
        stages[StageKey("layers", layer)] = Prediction(inputs[f"{prefix}pred_logits"], boxes, priors, frame)
    return DetectionOutput(stages, StageKey("layers", num_auxiliary))


def entry(key: str, losses: Losses, output: DetectionOutput, targets: Targets) -> Tensor:
    """Our value of the reference's entry ``<term>`` or ``<term>_<stage>``."""
    term = next(name for name in (*TERMS, "class_error", "cardinality_error") if key.startswith(name))
    stage = stage_of(key.removeprefix(term).removeprefix("_"), len(output.of_role("layers")))
    if term in TERMS:
        return losses.terms()[losses.names.index((stage, TERMS[term]))].detach()
    logits = output.stages[stage].logits
    if term == "class_error":
        return class_error(logits, losses.matches_of(stage).classes, targets)
    return cardinality_error(logits, targets)


def _assert_assignments(case: "ReferenceCase", losses: Losses) -> None:
    num_auxiliary = case.config["n_aux"]
    stages = {"dec": StageKey("layers", num_auxiliary), "enc": StageKey("first")}
    stages |= {f"aux{i}": StageKey("layers", i) for i in range(num_auxiliary)}
    for name, stage in stages.items():
        if f"pairs_{name}" in case.outputs:
            pairs, counts = case.outputs[f"pairs_{name}"], case.outputs[f"pair_counts_{name}"]
            assert_pairs(losses.matches_of(stage).classes, pairs, counts)
