"""Assignment rules against the reference implementation."""

from typing import TYPE_CHECKING

import pytest
import torch

from deta.assign import HungarianAssigner, ReleaseAssigner
from deta.assign.base import prior_iou
from deta.assign.release import BETWEEN, highest_per_object, match_by_threshold
from tests.assign.scenes import assigned
from tests.golden.scenes import assert_pairs, case_targets, make_prediction

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.golden("matcher")
def test_matcher_equals_reference(case: "ReferenceCase") -> None:
    iou = case.inputs["iou"][None]
    thresholds = case.config["thresholds"]
    owner, label = match_by_threshold(
        iou,
        torch.ones(iou.shape[:2], dtype=torch.bool),
        low=thresholds[0],
        high=thresholds[-1],
        low_quality=case.config["allow_low_quality_matches"],
    )
    assert set(case.config["labels"]) <= {0, 1, BETWEEN}
    assert label[0].tolist() == case.outputs["match_labels"].tolist()
    expected = case.outputs["matches"]
    if len(iou[0]) > 0:
        is_unique = (iou[0] == iou[0].amax(0)).sum(0) == 1
        assert owner[0][is_unique].tolist() == expected[is_unique].tolist()
        assert torch.equal(iou[0].gather(0, owner), iou[0].gather(0, expected[None]))
    else:
        assert owner[0].tolist() == expected.tolist()


@pytest.mark.golden("topk_per_gt")
def test_highest_boxes_per_object_equal_reference(case: "ReferenceCase") -> None:
    iou = case.inputs["iou"][None]
    is_positive = torch.zeros(1, iou.shape[2], dtype=torch.bool)
    owner = torch.zeros(1, iou.shape[2], dtype=torch.int64)
    is_positive[0, case.inputs["pr_inds"]] = True
    owner[0, case.inputs["pr_inds"]] = case.inputs["gt_inds"]
    pairs = highest_per_object(iou, owner, is_positive, case.config["k"])
    found = torch.stack((pairs.query, pairs.target), dim=-1)[pairs.is_pair]
    assert sorted(found.tolist()) == sorted(case.outputs["pairs"].tolist())


@pytest.mark.golden("stage1")
def test_first_stage_of_the_release_equals_reference(case: "ReferenceCase") -> None:
    assigner = ReleaseAssigner(
        tau=case.config["t_high"],
        max_per_target=case.config["k"],
        num_samples=case.config["batch_size_per_image"],
        positive_fraction=case.config["positive_fraction"],
    )
    matches = assigned(assigner, make_prediction(case.inputs["anchors"]), case_targets(case))
    assert_pairs(matches, case.outputs["pairs"], case.outputs["pair_counts"])


@pytest.mark.golden("stage2")
def test_second_stage_of_the_release_equals_reference(case: "ReferenceCase") -> None:
    assigner = ReleaseAssigner(
        tau=case.config["tau"],
        max_per_target=case.config["k"],
        positive_fraction=case.config["positive_fraction"],
    )
    prediction, targets = make_prediction(case.inputs["init_reference"]), case_targets(case)
    assert_pairs(assigned(assigner, prediction, targets), case.outputs["pairs"], case.outputs["pair_counts"])
    iou = prior_iou(prediction, targets)
    for image, count in enumerate(targets.is_object.sum(1).tolist()):
        if f"iou_{image}" in case.outputs:
            expected = case.outputs[f"iou_{image}"]
            torch.testing.assert_close(iou[image, :count], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.golden("hungarian")
def test_hungarian_equals_reference(case: "ReferenceCase") -> None:
    assigner = HungarianAssigner(
        class_weight=case.config["cost_class"],
        l1_weight=case.config["cost_bbox"],
        giou_weight=case.config["cost_giou"],
    )
    prediction = make_prediction(case.inputs["pred_boxes"], case.inputs["pred_logits"])
    targets = case_targets(case)
    cost = assigner.cost(prediction, targets)
    for image, count in enumerate(targets.is_object.sum(1).tolist()):
        expected = case.outputs[f"cost_{image}"]
        torch.testing.assert_close(cost[image, :, :count], expected, rtol=1e-4, atol=1e-5)
    assert_pairs(assigned(assigner, prediction, targets), case.outputs["pairs"], case.outputs["pair_counts"])
