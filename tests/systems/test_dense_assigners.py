"""The rules of detectors with dense heads and of two stages against their references."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from deta.assign import (
    IGNORED,
    Assigner,
    ATSSAssigner,
    Draw,
    FCOSAssigner,
    GaussianAssigner,
    Matches,
    MaxIoUAssigner,
    OnePerObjectAssigner,
    Prediction,
    SimOTAAssigner,
    Targets,
    TaskAlignedAssigner,
    assign,
)
from deta.ops.deltas import decode_deltas
from deta.structures import QualityScore, SoftmaxScore

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.reference("max_iou_assigner")
def test_max_iou_is_that_of_torchvision(case: "ReferenceCase") -> None:
    config = case.config
    rule = _max_iou(config["fg_iou_thresh"], config["bg_iou_thresh"], config["allow_low_quality_matches"])
    matches = _assigned(rule, _priors(case.inputs["anchors"]), _objects(case))
    assert torch.equal(matches.target[0], case.outputs["matched_idxs"])


@pytest.mark.reference("two_stage_assigner")
def test_labels_of_anchors_and_proposals_are_those_of_torchvision(case: "ReferenceCase") -> None:
    config, targets = case.config, _objects(case)
    anchors = _max_iou(config["rpn_fg"], config["rpn_bg"], True)
    found = _assigned(anchors, _priors(case.inputs["anchors"]), targets).target[0]
    labels = torch.where(found == IGNORED, -1, (found >= 0).long())
    assert torch.equal(labels, case.outputs["rpn_labels"])
    proposals = torch.cat((case.inputs["proposals"], case.inputs["boxes"]))
    rois = _max_iou(config["roi_fg"], config["roi_bg"], False)
    found = _assigned(rois, _priors(proposals), targets).target[0]
    # There the background has object 0 and label 0, and classes count from 1.
    assert torch.equal(found.clamp(min=0), case.outputs["roi_gt"])
    labels = torch.cat((case.inputs["labels"], torch.zeros(1, dtype=torch.int64)))[found]
    assert torch.equal(torch.where(found >= 0, labels, 0), case.outputs["roi_labels"])


@pytest.mark.reference("assigner", systems=("tsp_rcnn",))
def test_labels_of_proposals_are_those_of_tsp(case: "ReferenceCase") -> None:
    rule = _max_iou(case.config["iou_threshold"], case.config["iou_threshold"], case.config["low_quality"])
    counts = case.inputs["num_proposals"].tolist(), case.inputs["sizes"].tolist()
    parts = zip(
        case.inputs["proposals"].split(counts[0]),
        case.inputs["boxes_xyxy"].split(counts[1]),
        case.outputs["matched_object"].split(counts[0]),
        case.outputs["matched_label"].split(counts[0]),
        strict=True,
    )
    for proposals, boxes, owner, label in parts:
        found = _assigned(rule, _priors(proposals), _targets(boxes)).target[0]
        assert torch.equal((found >= 0).long(), label.long())
        assert torch.equal(found[found >= 0], owner[found >= 0])


@pytest.mark.reference("criterion", systems=("tsp_rcnn",))
def test_the_one_proposal_of_every_object_is_that_of_tsp(case: "ReferenceCase") -> None:
    config, inputs = case.config, case.inputs
    if config["use_detr_loss"]:
        pytest.skip("another assignment")
    # Without a cut all proposals are sampled, those of an image one after the other.
    counts, sizes = inputs["num_proposals"].tolist(), inputs["sizes"].tolist()
    priors = box_convert(case.outputs["sampled_boxes"], "xyxy", "cxcywh")
    deltas = inputs["pred_deltas"].unflatten(1, (-1, 4)) / torch.tensor(config["bbox_weights"])  # [N, C, 4]
    boxes = decode_deltas(priors[:, None].expand_as(deltas), deltas)
    rule = OnePerObjectAssigner(iou=config["iou_threshold"], score=SoftmaxScore())
    parts = zip(
        *(values.split(counts) for values in (priors, boxes, inputs["pred_logits"], case.outputs["set_targets"])),
        *(values.split(sizes) for values in (inputs["boxes_xyxy"], inputs["labels"])),
        strict=True,
    )
    for own, predicted, logits, expected, objects, labels in parts:
        found = _assigned(rule, Prediction(logits[None], predicted[None], own[None]), _targets(objects, labels))
        classes = torch.cat((labels, torch.tensor([config["num_classes"]])))[found.target[0]]
        assert torch.equal(classes, expected)


@pytest.mark.reference("fcos_assigner")
def test_fcos_is_that_of_torchvision(case: "ReferenceCase") -> None:
    anchors = case.inputs["anchors"]
    levels = _levels(case.config["spatial_shapes"])
    prediction = replace(_priors(anchors), levels=levels, strides=anchors[:, 2] - anchors[:, 0])
    rule = FCOSAssigner(radius=case.config["center_sampling_radius"], rounds_areas=True)
    matches = _assigned(rule, prediction, _objects(case))
    assert torch.equal(matches.target[0], case.outputs["matched_idxs"])


@pytest.mark.reference("atss_assigner")
@pytest.mark.parametrize("has_grid", [True, False])
def test_atss_is_that_of_mmdet(case: "ReferenceCase", has_grid: bool) -> None:
    config, expected = case.config, case.outputs
    prediction, targets = _on_levels(_priors(case.inputs["priors"]), config), _objects(case)
    prediction = prediction if has_grid else replace(prediction, grid=None)
    rule = ATSSAssigner(k=config["topk"])
    if "symmetric" in case.name and not has_grid:
        pytest.skip("which of candidates at one distance are the nearest is open")
    if "iou_thresholds" in expected:
        _assert_close(rule.thresholds(prediction, targets)[0], expected["iou_thresholds"])
    found = _assigned(rule, prediction, targets).target[0]
    assert torch.equal(found, expected["assigned"])
    _assert_close(_overlap(case.inputs["priors"], case.inputs["boxes"], found), expected["iou_of_positives"])


@pytest.mark.reference("tal_assigner")
def test_task_alignment_is_that_of_mmdet(case: "ReferenceCase") -> None:
    config, expected, targets = case.config, case.outputs, _objects(case)
    prediction = replace(_predicted(case.inputs["priors"], case), logits=case.inputs["scores"].logit()[None])
    rule = TaskAlignedAssigner(k=config["topk"], alpha=config["alpha"], beta=config["beta"])
    matches = _assigned(rule, prediction, targets)
    assert torch.equal(matches.target[0], expected["assigned"])
    assert matches.quality is not None
    _assert_close(matches.quality[0], expected["soft_target"])
    if len(case.inputs["boxes"]):
        best = rule.best(prediction, targets)
        for name, values in (("metric", best.metric), ("iou", best.iou)):
            _assert_close(_of_owners(best.chosen[0], values[0], matches.target[0]), expected[name])


@pytest.mark.reference("simota_assigner")
def test_simota_is_that_of_yolox(case: "ReferenceCase") -> None:
    config, inputs = case.config, case.inputs
    points, strides = _points(config["spatial_shapes"], config["strides"])
    cells, raw = points / strides[:, None] - 0.5, inputs["reg"]
    boxes = torch.cat((cells + raw[:, :2], raw[:, 2:].exp()), dim=1) * strides[:, None]
    prediction = Prediction(
        inputs["cls_logits"][None],
        boxes[None],
        torch.cat((points, points), dim=1)[None],
        strides=strides,
        quality=inputs["obj_logit"][None, :, 0],
    )
    rule = SimOTAAssigner(
        radius=config["center_radius"],
        outside_cost=config["outside_cost"],
        iou_weight=config["iou_cost_weight"],
        k=config["candidate_topk"],
        score=QualityScore(root=True),
    )
    found = _assigned(rule, prediction, _objects(case)).target[0]
    assert torch.equal(found, case.outputs["assigned"])
    corners = box_convert(boxes, "cxcywh", "xyxy")
    _assert_close(_overlap(corners, inputs["boxes"], found), case.outputs["iou"])


@pytest.mark.reference("gaussian_targets")
def test_heat_maps_of_mmdet_are_reproduced(case: "ReferenceCase") -> None:
    rule = GaussianAssigner(radius="mmdet", min_overlap=case.config["mmdet_min_overlap"])
    matches, (height, width) = _heat(rule, case)
    assert matches.class_target is not None
    _assert_close(matches.class_target[0].T.unflatten(1, (height, width)), case.outputs["mmdet_heatmap"])
    is_positive = (matches.target[0] >= 0).view(height, width)
    assert torch.equal(is_positive, case.outputs["mmdet_weight"][0] > 0)
    boxes = torch.cat((case.inputs["boxes"], torch.zeros(1, 4)))[matches.target[0]] / case.config["stride"]
    sides = (boxes[:, 2:] - boxes[:, :2]).T.unflatten(1, (height, width)) * is_positive
    _assert_close(sides, case.outputs["mmdet_wh"])
    sides = (case.inputs["boxes"][:, 2:] - case.inputs["boxes"][:, :2]) / case.config["stride"]
    assert torch.equal(rule.radii(sides).long(), case.outputs["mmdet_radius"])


@pytest.mark.reference("gaussian_targets")
def test_heat_maps_of_the_release_of_centernet_are_reproduced(case: "ReferenceCase") -> None:
    rule = GaussianAssigner(radius="original", min_overlap=case.config["original_min_overlap"])
    matches, (height, width) = _heat(rule, case)
    assert matches.class_target is not None
    _assert_close(matches.class_target[0].T.unflatten(1, (height, width)), case.outputs["original_hm"])
    mask = case.outputs["original_mask"] > 0
    cells = case.outputs["original_ind"][mask]
    assert set((matches.target[0] >= 0).nonzero().flatten().tolist()) == set(cells.tolist())
    kept = mask[: len(case.inputs["boxes"])]
    radius = rule.radii(case.outputs["original_wh"][: len(kept)])
    assert torch.equal(radius.long()[kept], case.outputs["original_radius"][kept])


RULES: dict[str, Callable[[dict[str, Any]], Assigner]] = {
    "max_iou": lambda config: _max_iou(config["max_iou"][0], config["max_iou"][1], True),
    "max_iou_no_low_quality": lambda config: _max_iou(config["max_iou"][0], config["max_iou"][1], False),
    "max_iou_mmdet": lambda config: MaxIoUAssigner(
        positive_from=config["max_iou"][0], background_below=config["max_iou"][1], low_quality="last_object"
    ),
    "atss": lambda config: ATSSAssigner(k=config["atss_topk"]),
    "fcos": lambda config: FCOSAssigner(radius=config["fcos"]["center_sampling_radius"], rounds_areas=True),
    "tal": lambda config: TaskAlignedAssigner(
        k=config["tal"]["topk"], alpha=config["tal"]["alpha"], beta=config["tal"]["beta"]
    ),
    "simota_mmdet": lambda config: _simota(config["simota_mmdet"], or_inside=True),
    "simota_yolox": lambda config: _simota(config["simota_yolox"], or_inside=False),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.reference("assignment_rules")
def test_every_rule_assigns_the_common_scenes_as_published(case: "ReferenceCase", name: str) -> None:
    prediction, targets, rule = _common(case), _objects(case), RULES[name](case.config)
    matches = _assigned(rule, prediction, targets)
    if isinstance(rule, SimOTAAssigner):
        _assert_equally_cheap(rule, prediction, targets, matches.target[0], case.outputs[name])
    else:
        assert torch.equal(matches.target[0], case.outputs[name])
    if name == "tal":
        assert matches.quality is not None
        _assert_close(matches.quality[0], case.outputs["tal_soft_target"])


@pytest.mark.reference("assignment_rules")
def test_rules_of_the_common_scenes_on_predicted_boxes_and_on_a_grid(case: "ReferenceCase") -> None:
    threshold = case.config["roi_on_predictions"]
    prediction = _priors(case.inputs["pred_boxes"])
    found = _assigned(_max_iou(threshold, threshold, False), prediction, _objects(case))
    assert torch.equal(found.target[0], case.outputs["roi_on_predictions"])
    config = {**case.config, "stride": 4}
    heat, shape = _heat(GaussianAssigner(min_overlap=config["gaussian"]["min_overlap"]), case, config)
    assert heat.class_target is not None
    _assert_close(heat.class_target[0].T.unflatten(1, shape), case.outputs["gaussian_heatmap_stride4"])


def _max_iou(positive_from: float, background_below: float, low_quality: bool) -> MaxIoUAssigner:
    kind = "own_column" if low_quality else "none"
    return MaxIoUAssigner(positive_from=positive_from, background_below=background_below, low_quality=kind)


def _simota(config: dict[str, Any], *, or_inside: bool) -> SimOTAAssigner:
    return SimOTAAssigner(
        radius=config["center_radius"],
        or_inside=or_inside,
        outside_cost=config["outside"],
        iou_weight=config["iou_weight"],
        k=config["candidate_topk"],
        score=QualityScore(root=True),
    )


def _assert_equally_cheap(
    rule: SimOTAAssigner, prediction: Prediction, targets: Targets, found: Tensor, expected: Tensor
) -> None:
    """Equal but for pairs that cost the same: beside the penalty of what lies outside, costs are rounded and tie."""
    for index, cost in enumerate(rule.costs(prediction, targets)[0]):
        own, other = (cost[owner == index].sort().values for owner in (found, expected))
        differs = (found == index) != (expected == index)
        assert torch.equal(own, other)
        assert (cost[differs] >= rule.outside_cost).all()


def _assigned(rule: Assigner, prediction: Prediction, targets: Targets) -> Matches:
    return assign(rule, prediction, targets, Draw.of(0))


def _targets(boxes: Tensor, labels: Tensor | None = None) -> Targets:
    """One image of objects in pixels, ``[T, 4]`` corners."""
    count = len(boxes)
    return Targets(
        boxes=box_convert(boxes, "xyxy", "cxcywh")[None],
        labels=torch.zeros(1, count, dtype=torch.int64) if labels is None else labels[None],
        is_object=torch.ones(1, count, dtype=torch.bool),
        areas=torch.ones(1, count),
        ignore_boxes=torch.zeros(1, 0, 4),
        is_ignore=torch.zeros(1, 0, dtype=torch.bool),
        sizes=torch.ones(1, 2),
        most_objects=count,
    )


def _objects(case: "ReferenceCase") -> Targets:
    return _targets(case.inputs["boxes"], case.inputs.get("labels"))


def _priors(corners: Tensor) -> Prediction:
    """Candidates in pixels that predict their priors."""
    boxes = box_convert(corners, "xyxy", "cxcywh")[None]
    return Prediction(torch.zeros(1, len(corners), 1), boxes, boxes)


def _predicted(priors: Tensor, case: "ReferenceCase") -> Prediction:
    return replace(_priors(priors), boxes=box_convert(case.inputs["pred_boxes"], "xyxy", "cxcywh")[None])


def _levels(shapes: Sequence[Sequence[int]]) -> Tensor:
    return torch.cat([torch.full((height * width,), level) for level, (height, width) in enumerate(shapes)])


def _points(shapes: Sequence[Sequence[int]], strides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """``[N, 2]`` centres of cells and ``[N]`` strides."""
    points = [
        torch.stack(torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), -1) * stride
        for (height, width), stride in zip(shapes, strides, strict=True)
    ]
    return torch.cat([part.flatten(0, 1) for part in points]), torch.tensor(strides).float()[_levels(shapes)]


def _on_levels(prediction: Prediction, config: dict[str, Any]) -> Prediction:
    """With levels, strides and grid."""
    levels = _levels(config["spatial_shapes"])
    grid = tuple((height, width, 1) for height, width in config["spatial_shapes"])
    return replace(prediction, levels=levels, strides=torch.tensor(config["strides"]).float()[levels], grid=grid)


def _common(case: "ReferenceCase") -> Prediction:
    prediction = replace(
        _predicted(case.inputs["anchors"], case),
        logits=case.inputs["cls_logits"][None],
        quality=case.inputs["obj_logit"][None],
    )
    return _on_levels(prediction, case.config)


def _heat(
    rule: GaussianAssigner, case: "ReferenceCase", config: dict[str, Any] | None = None
) -> tuple[Matches, tuple[int, int]]:
    """Assignment of the cells of one grid, and its size."""
    config = case.config if config is None else config
    height, width = (side // config["stride"] for side in config["padded_size"])
    prediction = _priors(torch.zeros(height * width, 4))
    logits = torch.zeros(1, height * width, config["num_classes"])
    strides = torch.full((height * width,), float(config["stride"]))
    prediction = replace(prediction, logits=logits, grid=((height, width, 1),), strides=strides)
    return _assigned(rule, prediction, _objects(case)), (height, width)


def _overlap(boxes: Tensor, objects: Tensor, owner: Tensor) -> Tensor:
    """``[N]`` IoU of every box with its object, 0 without one."""
    iou = torch.cat((box_iou(boxes, objects), torch.zeros(len(boxes), 1)), dim=1)
    return iou.gather(1, owner[:, None] % iou.shape[1])[:, 0]


def _of_owners(chosen: Tensor, values: Tensor, owner: Tensor) -> Tensor:
    """``[N]`` what the object of every candidate has beside it, of ``[T, k]``; 0 without one."""
    found = torch.zeros(len(owner))
    for index, (candidates, own) in enumerate(zip(chosen, values, strict=True)):
        is_own = owner[candidates] == index
        found[candidates[is_own]] = own[is_own]
    return found


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
