"""Faster R-CNN behind the backbone, its samples, losses and detections, against torchvision's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor
from torchvision.ops import box_convert

from deta.assign import Draw, GivenAssigner, MaxIoUAssigner, SampledAssigner, assign
from deta.building.build import make, plain, with_classes
from deta.losses import Criterion, CrossEntropy, DeltaL1Loss, FocalLoss, Rule
from deta.models import Detector, ProposalSelection, RegionSampler, RoIBody
from deta.models.postprocess import NMS
from deta.models.releases import layout_of
from deta.models.roi.proposals import Regions
from deta.ops.deltas import decode_deltas, encode_deltas
from deta.structures import DetectionOutput, Features, Prediction, SoftmaxScore, StageKey, Targets
from tests.golden.detectors import NoBackbone
from tests.systems.detectors import composed
from tests.systems.targets import targets_of

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

FACTORS = (10.0, 10.0, 5.0, 5.0)
BETA = 1 / 9


@pytest.mark.reference("two_stage_model")
def test_detections_equal_the_reference(case: "ReferenceCase") -> None:
    outputs = case.outputs
    detector, features = of_case(case)
    body = detector.body
    assert isinstance(body, RoIBody)
    with torch.no_grad():
        output = body(features)
    for level, feature in enumerate(features.maps):
        assert_close(feature, outputs[f"fpn_{level}"])
    first, roi = output.stages.values()
    assert_close(first.logits[..., 0], outputs["objectness"])
    assert_close(first.code, outputs["rpn_deltas"])
    assert_close(box_convert(first.priors[0], "cxcywh", "xyxy"), outputs["anchors"])
    rows = 0
    pooled, _ = body.pooling(features, roi.priors)
    for image in range(len(roi.boxes)):
        real = roi.exists[image]
        assert_close(box_convert(roi.priors[image][real], "cxcywh", "xyxy"), outputs[f"proposals_{image}"], atol=1e-3)
        count = int(real.sum())
        logits = outputs["class_logits"][rows : rows + count].roll(-1, 1)  # there the background is the first class
        assert_close(roi.logits[image][real], logits)
        assert_close(roi.code[image][real], outputs["box_regression"][rows : rows + count].roll(-4, 1))
        every = [row for row in range(rows, rows + count) if row % 8 == 0]
        expected = outputs["pooled_every8"][[row // 8 for row in every]]
        assert_close(pooled[image][real][[row - rows for row in every]], expected)
        rows += count
    assert_detections(output.final, case)


@pytest.mark.reference("two_stage_train")
def test_a_step_equals_the_reference(case: "ReferenceCase") -> None:
    config, inputs, outputs = case.config, case.inputs, case.outputs
    maps = {name: inputs[name].clone().requires_grad_() for name in inputs if name.startswith("feature_")}
    detector, features = of_case(case, maps)
    targets, num_images = objects_of(case), len(inputs["sizes"])
    rpn = permuted(outputs["rpn_labels"], permutations(case, "rpn_perm"))
    detector.train()
    body = detector.body
    assert isinstance(body, RoIBody)
    with torch.no_grad():
        first = next(iter(body(features).stages.values()))
        proposals = body.selection(first, features.frame(), training=True)
    labels = region_labels(proposals, targets, config)
    roi = permuted(labels, permutations(case, "roi_perm"))
    draw = replace(Draw.of(0), recorded={"model/sampler/priority": roi, "first/classes/priority": rpn})
    output = body(features, targets, draw.within("model"))
    regions = output.stages[StageKey("roi")]
    criterion: Criterion = make(plain(system_of(config)["criterion"]))
    losses = criterion(output, targets, draw)
    matches = losses.matches[StageKey("roi")].classes.target
    for image in range(num_images):
        real = proposals.exists[image]
        found = box_convert(proposals.boxes[image][real], "cxcywh", "xyxy")
        assert_close(found, outputs[f"proposals_{image}"], atol=1e-3)
        chosen = regions.exists[image]
        found = box_convert(regions.priors[image][chosen], "cxcywh", "xyxy")
        assert_close(found, outputs[f"sampled_proposals_{image}"], atol=1e-3)
        assert torch.equal(matches[image][chosen].clamp(min=0), outputs[f"sampled_gt_{image}"])
        is_positive = matches[image][chosen] >= 0
        assert torch.equal(is_positive, outputs[f"sampled_labels_{image}"] > 0)
    names = {
        ("first", "class"): "loss_objectness",
        ("first", "l1"): "loss_rpn_box_reg",
        ("roi", "class"): "loss_classifier",
        ("roi", "l1"): "loss_box_reg",
    }
    for (key, name), term in zip(losses.names, losses.terms(), strict=True):
        torch.testing.assert_close(term.detach(), outputs[f"loss/{names[key.role, name]}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), outputs["total"], rtol=1e-4, atol=1e-6)
    wanted = [name.removeprefix("grad/") for name in outputs if name.startswith("grad/")]
    gradients = torch.autograd.grad(losses.total(), [maps[name] for name in wanted])
    for name, gradient in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(gradient, outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


@pytest.mark.reference("two_stage_assigner")
def test_samples_are_those_of_torchvision(case: "ReferenceCase") -> None:
    config, inputs, outputs, targets = case.config, case.inputs, case.outputs, objects_of(case)
    anchors = box_convert(inputs["anchors"], "xyxy", "cxcywh")[None]
    rule = SampledAssigner(
        assigner=MaxIoUAssigner(positive_from=config["rpn_fg"], background_below=config["rpn_bg"]),
        number=config["rpn_batch"],
        positive_fraction=config["rpn_positive_fraction"],
    )
    priority = permuted(outputs["rpn_labels"][None], [[inputs["rpn_perm_pos"], inputs["rpn_perm_neg"]]])
    draw = replace(Draw.of(0), recorded={"priority": priority})
    prediction = Prediction(anchors.new_zeros(1, anchors.shape[1], 1), anchors, anchors)
    found = assign(rule, prediction, targets.in_pixels(), draw)
    assert torch.equal((found.target[0] >= 0).nonzero()[:, 0], outputs["rpn_sampled_pos"])
    assert torch.equal((found.target[0] == -1).nonzero()[:, 0], outputs["rpn_sampled_neg"])
    boxes = box_convert(inputs["proposals"], "xyxy", "cxcywh")[None]
    proposals = Regions(boxes, torch.ones(1, len(boxes[0]), dtype=torch.bool), torch.arange(len(boxes[0]))[None])
    labels = region_labels(proposals, targets, {"box_fg_iou_thresh": config["roi_fg"]})
    priority = permuted(labels, [[inputs["roi_perm_pos"], inputs["roi_perm_neg"]]])
    sampler = RegionSampler(
        assigner=SampledAssigner(
            assigner=region_rule(config["roi_fg"]),
            number=config["roi_batch"],
            positive_fraction=config["roi_positive_fraction"],
        ),
        num_regions=config["roi_batch"],
    )
    sample = sampler(proposals, targets, replace(Draw.of(0), recorded={"priority": priority}))
    chosen = sample.boxes[0][sample.exists[0]]
    assert_close(box_convert(chosen, "cxcywh", "xyxy"), outputs["sampled_proposals"])
    owner = outputs["sampled_gt"]
    if len(inputs["boxes"]):
        goals = encode_deltas(chosen, box_convert(inputs["boxes"], "xyxy", "cxcywh")[owner]) * torch.tensor(FACTORS)
        assert_close(goals, outputs["sampled_regression_targets"])


@pytest.mark.reference("rpn_select")
def test_proposals_are_those_of_torchvision(case: "ReferenceCase") -> None:
    config, inputs = case.config, case.inputs
    priors = box_convert(inputs["anchors"], "xyxy", "cxcywh").expand_as(inputs["deltas"])
    per_cell = len(inputs["anchors"]) // sum(height * width for height, width in config["spatial_shapes"])
    first = Prediction(
        inputs["objectness"][..., None],
        decode_deltas(priors, inputs["deltas"]),
        priors,
        grid=tuple((height, width, per_cell) for height, width in config["spatial_shapes"]),
    )
    selection = ProposalSelection(
        num_proposals=config["post_nms_top_n"],
        pre_topk=config["pre_nms_top_n"],
        iou_threshold=config["nms_thresh"],
        least_side=config["min_size"],
    )
    frame = inputs["image_sizes"].flip(1).repeat(1, 2).float()
    found = selection(first, frame, training=False)
    for image in range(len(frame)):
        real = found.exists[image]
        expected = case.outputs[f"proposals_{image}"]
        assert_close(box_convert(found.boxes[image][real], "cxcywh", "xyxy"), expected, atol=1e-3)
        scores = inputs["objectness"][image][found.source[image][real]].sigmoid()
        assert_close(scores, case.outputs[f"scores_{image}"])


@pytest.mark.reference("rpn_loss")
def test_losses_of_the_first_stage_equal_the_reference(case: "ReferenceCase") -> None:
    config, inputs = case.config, case.inputs
    leaves = {name: inputs[name].clone().requires_grad_() for name in ("objectness", "deltas")}
    labels = inputs["labels"]
    priority = permuted(labels, permutations(case, "perm"))
    goals = list(inputs["regression_targets"])
    stage, targets = around_goals(leaves["objectness"][..., None], leaves["deltas"], labels == 1, goals, (1.0,) * 4)
    assert stage.given is not None
    stage = replace(stage, given=torch.where(labels == -1, -2, stage.given))
    rule = Rule(
        SampledAssigner(
            assigner=GivenAssigner(), number=config["batch_per_image"], positive_fraction=config["positive_fraction"]
        ),
        class_terms={"loss_objectness": FocalLoss(alpha=None, focusing=0)},
        box_terms={"loss_rpn_box_reg": DeltaL1Loss(beta=config["smooth_l1_beta"])},
        normalizer="num_candidates",
        ignore_coverage=None,
        sees="objects",
    )
    draw = replace(Draw.of(0), recorded={"first/classes/priority": priority})
    assert_losses("first", rule, stage, targets, draw, leaves, case)


@pytest.mark.reference("roi_loss")
def test_losses_of_the_second_stage_equal_the_reference(case: "ReferenceCase") -> None:
    config, inputs = case.config, case.inputs
    leaves = {name: inputs[name].clone().requires_grad_() for name in ("class_logits", "box_regression")}
    labels = inputs["labels"][None]
    stage, targets = around_goals(
        leaves["class_logits"].roll(-1, 1)[None],
        leaves["box_regression"].roll(-4, 1)[None],
        labels > 0,
        [inputs["regression_targets"]],
        FACTORS,
        labels - 1,
    )
    rule = Rule(
        GivenAssigner(),
        class_terms={"loss_classifier": CrossEntropy(background_weight=1.0)},
        box_terms={"loss_box_reg": DeltaL1Loss(beta=config["smooth_l1_beta"], factors=FACTORS)},
        normalizer="num_candidates",
        ignore_coverage=None,
    )
    assert_losses("roi", rule, stage, targets, Draw.of(0), leaves, case)


@pytest.mark.reference("roi_postprocess")
def test_detections_of_regions_equal_the_reference(case: "ReferenceCase") -> None:
    inputs = case.inputs
    counts = [len(inputs[f"proposals_{image}"]) for image in range(2)]
    assert len(set(counts)) == 1
    priors = torch.stack([box_convert(inputs[f"proposals_{image}"], "xyxy", "cxcywh") for image in range(2)])
    logits = inputs["class_logits"].roll(-1, 1).unflatten(0, priors.shape[:2])
    code = inputs["box_regression"].roll(-4, 1).unflatten(1, (-1, 4)).unflatten(0, priors.shape[:2])
    code = code / torch.tensor(FACTORS)
    boxes = decode_deltas(priors[:, :, None].expand_as(code), code)
    frame = inputs["image_sizes"].flip(1).repeat(1, 2).float()
    assert_detections(Prediction(logits, boxes, priors).relative(frame), case)


def of_case(case: "ReferenceCase", maps: Mapping[str, Tensor] | None = None) -> tuple[Detector, Features]:
    """The detector of a case with its weights, in evaluation, and the features of its images."""
    config = case.config
    cfg = system_of(config)
    model = with_classes(plain(cfg["model"]), config["num_classes_with_background"] - 1)
    detector: Detector = make({**model, "backbone": NoBackbone(tuple(config["channels"]), finest=4)})
    own = detector.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    detector.load_state_dict(counters | layout_of(own).from_release(case.state, own))
    given = case.inputs if maps is None else maps
    levels = [given[f"feature_{index}"] for index in range(len(config["channels"]))]
    is_padding = torch.ones(len(levels[0]), *config["padded_size"], dtype=torch.bool)
    for image, (height, width) in enumerate(case.inputs["image_sizes"].tolist()):
        is_padding[image, :height, :width] = False
    return detector.eval(), detector.features(levels, is_padding)


def system_of(config: dict[str, Any]) -> DictConfig:
    """The composition of a case."""
    sizes = [[size] for size in config["rpn_anchor_sizes"]]
    return composed(
        config,
        f"model.body.hidden_dim={config['hidden_dim']}",
        f"model.body.head.width={config['representation']}",
        f"model.body.first.priors.sizes={sizes}",
        f"model.body.selection.num_proposals={config['rpn_post_nms_top_n_test']}",
        f"model.body.selection.training_num_proposals={config['rpn_post_nms_top_n_train']}",
        f"model.body.selection.pre_topk={config['rpn_pre_nms_top_n_test']}",
        f"model.body.selection.training_pre_topk={config['rpn_pre_nms_top_n_train']}",
        f"model.body.sampler.num_regions={config['box_batch_size_per_image']}",
        f"criterion.rules.first.assigner.number={config['rpn_batch_size_per_image']}",
        "criterion.rules.first.assigner.assigner.low_quality_from=0",
    )


def permutations(case: "ReferenceCase", name: str) -> list[list[Tensor]]:
    """Of the positives and of the negatives of every image."""
    pairs: list[list[Tensor]] = []
    while f"{name}_pos_{len(pairs)}" in case.inputs:
        pairs.append([case.inputs[f"{name}_{sign}_{len(pairs)}"] for sign in ("pos", "neg")])
    return pairs


def permuted(labels: Tensor, permutations: Sequence[Sequence[Tensor]]) -> Tensor:
    """``[B, N]`` priorities that choose as the permutations of positives and negatives do, for labels 1 and 0."""
    priority = torch.ones(labels.shape)
    for image, of_image in enumerate(permutations):
        for label, permutation in zip((1, 0), of_image, strict=True):
            places = (labels[image] == label).nonzero()[:, 0]
            order = torch.arange(len(permutation), dtype=torch.float32) / max(1, len(permutation))
            priority[image, places[permutation]] = order
    return priority


def region_rule(threshold: float) -> MaxIoUAssigner:
    return MaxIoUAssigner(positive_from=threshold, background_below=threshold, low_quality="none")


def region_labels(proposals: Regions, targets: Targets, config: Mapping[str, Any]) -> Tensor:
    """``[B, R + T]`` 1, 0, or -1 where there is nothing, of proposals and the objects that join them."""
    objects = targets.in_pixels()
    most = targets.most_objects
    boxes = torch.cat((proposals.boxes, objects.boxes[:, :most]), dim=1)
    exists = torch.cat((proposals.exists, objects.is_object[:, :most]), dim=1)
    prediction = Prediction(boxes.new_zeros(*boxes.shape[:2], 1), boxes, boxes, exists=exists)
    found = assign(region_rule(config["box_fg_iou_thresh"]), prediction, objects, Draw.of(0))
    return torch.where(exists, (found.target >= 0).long(), -1)


def around_goals(
    logits: Tensor,
    code: Tensor,
    is_positive: Tensor,
    goals: Sequence[Tensor],
    factors: Sequence[float],
    labels: Tensor | None = None,
) -> tuple[Prediction, Targets]:
    """A stage and an object for every positive that has these goals as its deltas."""
    priors = torch.tensor([50.0, 50.0, 20.0, 20.0]).expand(*logits.shape[:2], 4)
    given = torch.where(is_positive, is_positive.cumsum(1) - 1, -1)
    boxes = [
        decode_deltas(priors[0, 0].expand(int(rows.sum()), 4), of_image[rows] / torch.tensor(factors), 100.0)
        for of_image, rows in zip(goals, is_positive, strict=True)
    ]
    classes = torch.zeros_like(given) if labels is None else labels
    corners = box_convert(torch.cat(boxes), "cxcywh", "xyxy")
    counts, sizes = is_positive.sum(1).tolist(), torch.full((len(goals), 2), 100.0)
    targets = targets_of(corners, classes[is_positive], counts, sizes)
    of_classes = code.detach().unflatten(2, (-1, 4))
    shape = of_classes if of_classes.shape[2] > 1 else of_classes[:, :, 0]
    return Prediction(logits, torch.zeros_like(shape), priors, code=code, given=given), targets


def objects_of(case: "ReferenceCase") -> Targets:
    """The objects of a case, whose classes count from 1 there."""
    inputs = case.inputs
    counts = inputs["sizes"].tolist() if "sizes" in inputs else [len(inputs["boxes"])]
    sizes = inputs.get("image_sizes", torch.tensor([case.config["padded_size"]]))
    return targets_of(inputs["boxes"], inputs["labels"] - 1, counts, sizes)


def assert_losses(
    role: str,
    rule: Rule,
    stage: Prediction,
    targets: Targets,
    draw: Draw,
    leaves: Mapping[str, Tensor],
    case: "ReferenceCase",
) -> None:
    """Every term, the total and all gradients."""
    losses = Criterion({role: rule})(DetectionOutput({StageKey(role): stage}, StageKey(role)), targets, draw)
    for (_, name), term in zip(losses.names, losses.terms(), strict=True):
        torch.testing.assert_close(term.detach(), case.outputs[f"loss/{name}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


def assert_detections(prediction: Prediction, case: "ReferenceCase") -> None:
    """In pixels of the image that the network sees and of the file."""
    config = case.config
    selection = NMS(
        iou_threshold=config["box_nms_thresh"],
        max_detections=config["box_detections_per_img"],
        threshold=config["box_score_thresh"],
        least_side=0.01,
        score=SoftmaxScore(),
    )
    for sizes, prefix in (("image_sizes", ""), ("original_sizes", "original_")):
        found = selection(prediction, case.inputs[sizes])
        for image in range(len(found.boxes)):
            is_detection = found.is_detection[image]
            assert_close(found.boxes[image][is_detection], case.outputs[f"{prefix}boxes_{image}"], atol=1e-3)
            if not prefix:
                assert_close(found.scores[image][is_detection], case.outputs[f"scores_{image}"])
                assert torch.equal(found.labels[image][is_detection] + 1, case.outputs[f"labels_{image}"])


def assert_close(found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    """By the tolerance of the set; infinities of goals without an object count nothing."""
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=atol)
