"""TSP-RCNN behind the backbone, its samples, losses and detections, against the release."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.assign import Draw, HungarianAssigner, MaxIoUAssigner, OnePerObjectAssigner, SampledAssigner
from deta.building.build import make, plain, with_classes
from deta.losses import Criterion, CrossEntropy, DeltaL1Loss, FocusedCrossEntropy, GIoULoss, Rule, Sum
from deta.models import Detector, RegionSampler, RoIBody, TransformerRegionHead
from deta.models.postprocess import NMS
from deta.models.releases import from_release
from deta.models.roi.proposals import Regions
from deta.ops.deltas import decode_deltas
from deta.structures import DetectionOutput, Matches, Prediction, SoftmaxScore, StageKey, Targets
from tests.golden.detectors import NoBackbone
from tests.systems.detectors import composed
from tests.systems.targets import targets_of

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


@pytest.mark.reference("model", systems=("tsp_rcnn",))
def test_detections_equal_the_reference(case: "ReferenceCase") -> None:
    outputs = case.outputs
    detector, is_padding = of_case(case)
    maps = [case.inputs[f"feature_{index}"] for index in range(len(case.config["backbone_channels"]))]
    with torch.no_grad():
        features = detector.features(maps, is_padding)
        output = detector.body(features)
    for level, feature in enumerate(features.maps):
        step = 16 if level < 2 else 4
        assert_close(feature.flatten(2)[:, :, ::step], outputs[f"p{level + 2}_strided"])
    first, roi = output.stages.values()
    assert first.grid is not None
    start = 0
    for level, (height, width, per_cell) in enumerate(first.grid):
        rows = slice(start, start + height * width * per_cell)
        logits = first.logits[:, rows, 0].unflatten(1, (height, width, per_cell)).permute(0, 3, 1, 2)
        assert_close(logits.flatten(1)[:, ::8], outputs[f"rpn_logits_{level}"])
        assert first.code is not None
        deltas = first.code[:, rows].unflatten(1, (height, width, per_cell)).permute(0, 3, 4, 1, 2)
        assert_close(deltas.flatten(1)[:, ::32], outputs[f"rpn_deltas_{level}"])
        start = rows.stop
    assert roi.exists is not None
    assert torch.equal(~roi.exists, outputs["proposal_padding"])
    for image, exists in enumerate(roi.exists):
        found = box_convert(roi.priors[image][exists], "cxcywh", "xyxy")
        assert_close(found, outputs[f"proposals_{image}"], atol=1e-3)
    body = detector.body
    assert isinstance(body, RoIBody)
    assert isinstance(body.head, TransformerRegionHead)
    assert output.frame is not None
    assert roi.source is not None
    regions = Regions(roi.priors, roi.exists, roi.source)
    assert_close(body.head.coordinates(regions, output.frame), outputs["normalised_proposals"])
    assert roi.code is not None
    assert_close(roi.logits[roi.exists], outputs["pred_logits"])
    assert_close(roi.code[roi.exists], outputs["pred_deltas"])
    assert_detections(output.final, case)


@pytest.mark.reference("assigner", systems=("tsp_rcnn",))
def test_samples_are_those_of_the_release(case: "ReferenceCase") -> None:
    config, inputs, outputs = case.config, case.inputs, case.outputs
    regions, targets = regions_of(case), objects_of(case)
    sampler = RegionSampler(
        assigner=SampledAssigner(
            assigner=region_rule(config),
            number=config["batch_size_per_image"],
            positive_fraction=config["positive_fraction"],
        ),
        num_regions=config["batch_size_per_image"],
        append="unmatched",
        least_kept=config["drop_bounds"][0] if config["random_proposal_drop"] else 1.0,
    )
    recorded: dict[str, Tensor] = {}
    width = regions.boxes.shape[1] + targets.most_objects
    if config["random_proposal_drop"]:
        recorded["share/dropped"] = inputs["draw_drop_u"][:, None]
        every = sampled(
            RegionSampler(assigner=region_rule(config), num_regions=width, append="unmatched"), regions, targets, {}
        )
        priority = torch.ones(len(regions.boxes), width)
        for image, keep in enumerate(inputs["draw_keep"].split(inputs["draw_keep_sizes"].tolist())):
            order = in_order_of_the_release(every, targets, image, config)
            priority[image, order[keep]] = torch.arange(len(keep)) / width
        recorded["share/priority"] = priority
    if "draw_append_noise" in inputs:
        recorded["noise"] = inputs["draw_append_noise"][None]
    found = sampled(sampler, regions, targets, recorded)
    boxes = outputs["sampled_boxes"].split(outputs["sampled_counts"].tolist())
    classes = outputs["sampled_classes"].split(outputs["sampled_counts"].tolist())
    for image in range(len(boxes)):
        order = in_order_of_the_release(found, targets, image, config)
        own = box_convert(found.boxes[image][order], "cxcywh", "xyxy")
        places = (own[:, None] - boxes[image][None]).abs().amax(-1).argmin(1) if len(own) else order
        assert sorted(places.tolist()) == list(range(len(boxes[image])))
        assert_close(own, boxes[image][places])
        owner = matched(found, targets, config)[image][order]
        label = torch.where(owner >= 0, targets.labels[image][owner.clamp(min=0)], config["num_classes"])
        assert torch.equal(label, classes[image][places])


@pytest.mark.reference("criterion", systems=("tsp_rcnn",))
def test_losses_equal_the_reference(case: "ReferenceCase") -> None:
    config, outputs = case.config, case.outputs
    leaves = {name: case.inputs[name].clone().requires_grad_() for name in ("pred_logits", "pred_deltas")}
    counts = case.inputs["num_proposals"].tolist()
    assert len(outputs["sampled_boxes"]) == sum(counts)  # without a cut or anything that joins
    rows, exists = rows_of(counts)
    priors = box_convert(outputs["sampled_boxes"], "xyxy", "cxcywh")[rows]
    code = leaves["pred_deltas"][rows].unflatten(2, (-1, 4))  # [B, R, K, 4]
    boxes = decode_deltas(priors[:, :, None].expand_as(code), code / torch.tensor(config["bbox_weights"]))
    stage = Prediction(
        leaves["pred_logits"][rows],
        boxes if boxes.shape[2] > 1 else boxes[:, :, 0],
        priors,
        exists=exists,
        code=code.flatten(2),
    )
    targets = objects_of(case)
    losses = Criterion({"roi": rule_of(config)})(
        DetectionOutput({StageKey("roi"): stage}, StageKey("roi")), targets, Draw.of(0)
    )
    terms = dict(zip((name for _, name in losses.names), losses.terms() * losses.weights, strict=True))
    found = {"loss_obj": terms["class"], "loss_box_reg": sum(value for name, value in terms.items() if name != "class")}
    for name, value in found.items():
        torch.testing.assert_close(value.detach(), outputs[f"loss/{name}"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), outputs["total"], rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, outputs[f"grad/{name}"], rtol=1e-4, atol=1e-6)


@pytest.mark.reference("postprocess", systems=("tsp_rcnn",))
def test_detections_of_regions_equal_the_reference(case: "ReferenceCase") -> None:
    regions = regions_of(case)
    rows, _ = rows_of(case.inputs["num_proposals"].tolist())
    code = case.inputs["pred_deltas"][rows].unflatten(2, (-1, 4)) / torch.tensor(case.config["bbox_weights"])
    boxes = decode_deltas(regions.boxes[:, :, None].expand_as(code), code)
    stage = Prediction(case.inputs["pred_logits"][rows], boxes, regions.boxes, exists=regions.exists)
    assert_detections(stage.relative(frame_of(case)), case)


class BoxesPerObjectAndImage(GIoULoss):
    """With the divisor of an option of the release: objects, and two for every image."""

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        return replace(super().__call__(prediction, matches, targets), divisor=targets.num_objects() + 2)


def rule_of(config: dict[str, Any]) -> Rule:
    """By the options of a case."""
    if config["use_detr_loss"]:
        return Rule(
            HungarianAssigner(class_weight=1.0, l1_weight=0.0, giou_weight=5.0, scores="softmax"),
            class_terms={"class": CrossEntropy(weight=0.5, background_weight=config["eos_weight"])},
            box_terms={"giou": BoxesPerObjectAndImage(weight=config["giou_weight"])},
            ignore_coverage=None,
        )
    if config["finetune_on_set"]:  # an option that is composed of the same terms
        return Rule(
            OnePerObjectAssigner(iou=config["iou_threshold"], score=SoftmaxScore()),
            class_terms={"class": FocusedCrossEntropy(background_weight=config["eos_weight"])},
            box_terms={
                "l1": DeltaL1Loss(weight=3 * config["l1_weight"], factors=config["bbox_weights"]),
                "giou": GIoULoss(weight=3 * config["giou_weight"]),
            },
            normalizer="num_candidates",
            ignore_coverage=None,
        )
    criterion: Criterion = make(plain(composed({"system": "tsp_rcnn"})["criterion"]))
    return criterion.rules["roi"]


def test_boxes_of_the_first_stage_count_twice() -> None:
    criterion: Criterion = make(plain(composed({"system": "tsp_rcnn"})["criterion"]))
    first = criterion.rules["first"]
    assert {name: term.weight for name, term in first.class_terms.items()} == {"class": 1.0}
    assert {name: term.weight for name, term in first.box_terms.items()} == {"l1": 2.0}
    assert isinstance(first.assigner, SampledAssigner)
    assert (first.assigner.number, first.assigner.positive_fraction) == (256, 0.5)


def of_case(case: "ReferenceCase") -> tuple[Detector, Tensor]:
    """The detector of a case with its weights, in evaluation, and its padding."""
    config = case.config
    cfg = composed(
        {"system": "tsp_rcnn"},
        f"model.body.hidden_dim={config['fpn_channels']}",
        f"model.body.head.width={config['hidden_dim']}",
        f"model.body.head.num_layers={config['enc_layers']}",
        f"model.body.head.num_heads={config['nheads']}",
        f"model.body.head.ffn_dim={config['dim_feedforward']}",
        f"model.body.first.priors.sizes={config['anchor_sizes']}",
        f"model.body.first.head.num_convs={config['rpn_num_conv']}",
        f"model.body.selection.num_proposals={config['num_proposals']}",
        f"model.body.selection.pre_topk={config['rpn_pre_nms_topk']}",
        f"model.body.pooling.resolution={config['pooler_resolution']}",
    )
    model = with_classes(plain(cfg["model"]), config["num_classes"])
    detector: Detector = make({**model, "backbone": NoBackbone(tuple(config["backbone_channels"]), finest=4)})
    detector.load_state_dict(from_release(case.state, detector))
    finest = case.inputs["feature_0"]
    is_padding = torch.ones(len(finest), finest.shape[2] * 4, finest.shape[3] * 4, dtype=torch.bool)
    for image, (height, width) in enumerate(case.inputs["image_sizes"].tolist()):
        is_padding[image, :height, :width] = False
    return detector.eval(), is_padding


def rows_of(counts: list[int]) -> tuple[Tensor, Tensor]:
    """``[B, R]`` rows of what is concatenated over images, and whether there is one."""
    starts = torch.tensor([0, *counts[:-1]]).cumsum(0)
    places = torch.arange(max(counts)).expand(len(counts), -1)
    exists = places < torch.tensor(counts)[:, None]
    return torch.where(exists, starts[:, None] + places, 0), exists


def frame_of(case: "ReferenceCase") -> Tensor:
    return case.inputs["image_sizes"].flip(1).repeat(1, 2).float()


def regions_of(case: "ReferenceCase") -> Regions:
    """The proposals of a case."""
    rows, exists = rows_of(case.inputs["num_proposals"].tolist())
    boxes = box_convert(case.inputs["proposals"], "xyxy", "cxcywh")[rows]
    return Regions(torch.where(exists[..., None], boxes, 0.0), exists, rows)


def objects_of(case: "ReferenceCase") -> Targets:
    inputs = case.inputs
    return targets_of(inputs["boxes_xyxy"], inputs["labels"], inputs["sizes"].tolist(), inputs["image_sizes"])


def region_rule(config: dict[str, Any]) -> MaxIoUAssigner:
    threshold = config["iou_threshold"]
    return MaxIoUAssigner(positive_from=threshold, background_below=threshold, low_quality="none")


def sampled(sampler: RegionSampler, regions: Regions, targets: Targets, recorded: dict[str, Tensor]) -> Regions:
    return sampler(regions, targets, replace(Draw.of(0), recorded=recorded))


def matched(regions: Regions, targets: Targets, config: dict[str, Any]) -> Tensor:
    """``[B, R]`` object of every region by overlap."""
    logits = torch.zeros(*regions.boxes.shape[:2], 1)
    prediction = Prediction(logits, regions.boxes, regions.boxes, exists=regions.exists)
    return region_rule(config)(prediction, targets.in_pixels(), Draw.of(0)).target


def in_order_of_the_release(regions: Regions, targets: Targets, image: int, config: dict[str, Any]) -> Tensor:
    """Positives, then the others, each by index."""
    places = regions.exists[image].nonzero()[:, 0]
    is_positive = matched(regions, targets, config)[image][places] >= 0
    return torch.cat((places[is_positive], places[~is_positive]))


def assert_detections(prediction: Prediction, case: "ReferenceCase") -> None:
    config = case.config
    selection = NMS(
        iou_threshold=config["nms_threshold"],
        max_detections=config["max_detections"],
        threshold=config["score_threshold"],
        least_side=0.0,
        score=SoftmaxScore(),
    )
    found = selection(prediction, case.inputs["image_sizes"])
    for image, is_detection in enumerate(found.is_detection):
        assert_close(found.boxes[image][is_detection], case.outputs[f"boxes_{image}"], atol=1e-3)
        assert_close(found.scores[image][is_detection], case.outputs[f"scores_{image}"])
        assert torch.equal(found.labels[image][is_detection], case.outputs[f"labels_{image}"])


def assert_close(found: Tensor, expected: Tensor, atol: float = 5e-5) -> None:
    """By the tolerance of the set."""
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=atol)
