"""One-to-one assignments against the published systems."""

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from deta.assign import Draw
from deta.losses import Criterion, FocalLoss, Rule
from deta.structures import DetectionOutput, Matches, Prediction, StageKey, Targets
from tests.golden.scenes import assert_pairs, case_targets, make_prediction
from tests.systems.rules import FAMILY, hungarian

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.reference("assigner", systems=FAMILY)
def test_assignments_equal_the_reference(case: "ReferenceCase") -> None:
    prediction, targets = _scene(case)
    matches = _assigned(case, prediction, targets)
    cost = hungarian(case.config).cost(prediction, targets)  # [B, N, T]
    for image, size in enumerate(case.inputs["sizes"].tolist()):
        expected = case.outputs.get(f"cost_{image}")
        if expected is not None:
            torch.testing.assert_close(cost[image, :, :size], expected, rtol=1e-4, atol=5e-5)
    is_tied = case.config.get("ties") or "pairs" in case.config.get("tie_outputs", ())
    if not is_tied:
        assert_pairs(matches, case.outputs["pairs"], case.outputs["pair_counts"])
    assert matches.num_pairs().tolist() == case.outputs["pair_counts"].tolist()
    total = next((case.outputs[name] for name in ("total_cost", "matched_cost") if name in case.outputs), None)
    if total is not None:
        torch.testing.assert_close(_cost_of(matches, cost), total, rtol=1e-4, atol=5e-5)


def _scene(case: "ReferenceCase") -> tuple[Prediction, Targets]:
    targets = case_targets(case)
    targets = targets.class_agnostic() if case.config.get("binary") else targets
    return make_prediction(case.inputs["pred_boxes"], case.inputs["pred_logits"]), targets


def _assigned(case: "ReferenceCase", prediction: Prediction, targets: Targets) -> Matches:
    """The assignment of all queries, of which every copy is a stage of its own."""
    copies = case.config.get("group_detr", 1)
    size = prediction.num_candidates // copies
    stages = {StageKey("layers", 0, copy): prediction.slice(copy * size, (copy + 1) * size) for copy in range(copies)}
    rule = Rule(hungarian(case.config), {"class": FocalLoss()}, repeat=case.config.get("k_one2many", 1))
    losses = Criterion({"layers": rule})(DetectionOutput(stages, next(iter(stages))), targets, Draw.of(0))
    return Matches(torch.cat([losses.matches_of(key).classes.target for key in stages], dim=1))


def _cost_of(matches: Matches, cost: Tensor) -> Tensor:
    """``[B]`` cost of all pairs."""
    paid = cost.new_zeros(len(cost))
    for image, query, target in matches.pairs().tolist():
        paid[image] += cost[image, query, target]
    return paid
