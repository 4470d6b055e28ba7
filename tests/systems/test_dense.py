"""Dense detectors behind the backbone, their losses and their detections, against the references."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.assign import Draw, GaussianAssigner, GivenAssigner
from deta.commands.build import make, plain, with_classes
from deta.losses import (
    CenternessLoss,
    CentreL1Loss,
    Criterion,
    DeltaL1Loss,
    DistributionFocalLoss,
    FocalLoss,
    GIoULoss,
    HeatMapLoss,
    IoULoss,
    MatchedClassLoss,
    ObjectnessLoss,
    QualityFocalLoss,
    Rule,
    WeightedGIoULoss,
)
from deta.models import CentreCodec, CentreHead, DeltaCodec, Detector, DistanceCodec, DistributionCodec
from deta.models.postprocess import Peaks, PerLevelNMS
from deta.models.releases import layout_of
from deta.models.releases.centernet import CENTERNET
from deta.models.releases.yolox import YOLOX
from deta.structures import DetectionOutput, Matches, Prediction, QualityScore, Score, SigmoidScore, StageKey, Targets
from tests.golden.detectors import NoBackbone
from tests.systems.detectors import composed

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase

SYSTEMS = ("retinanet", "retinanet_v2", "fcos", "atss", "gfl", "tood")


@pytest.mark.reference("dense_model", systems=SYSTEMS)
def test_detections_equal_the_reference(case: "ReferenceCase") -> None:
    config = case.config
    detector = dense_detector(case)
    maps = [case.inputs[f"feature_{index}"] for index in range(len(config["channels"]))]
    height, width = (int(side) for side in case.inputs["padded_size"])
    is_padding = torch.ones(len(maps[0]), height, width, dtype=torch.bool)
    for image, (own_height, own_width) in enumerate(case.inputs["image_sizes"].tolist()):
        is_padding[image, :own_height, :own_width] = False
    with torch.no_grad():
        features = detector.features(maps, is_padding)
        output = detector.body(features)
    for level, feature in enumerate(features.maps):
        assert_close(feature, case.outputs[f"fpn_{level}"])
    (stage,) = output.stages.values()
    names = {"cls_logits": stage.logits, "bbox_pred": stage.code, "bbox_regression": stage.code}
    if config["system"] == "tood":
        assert stage.strides is not None
        names = {
            "cls_scores": QualityScore(root=True)(stage).sigmoid(),
            "bbox_pred": box_convert(stage.boxes, "cxcywh", "xyxy") / stage.strides[:, None],
        }
    elif stage.quality is not None:
        names |= dict.fromkeys(("centerness", "bbox_ctrness"), stage.quality[..., None])
    for name, found in names.items():
        if name in case.outputs:
            assert_close(found, case.outputs[name])
    for name in ("anchors", "priors"):
        if name in case.outputs:
            assert_close(box_convert(stage.priors[0], "cxcywh", "xyxy"), case.outputs[name])
    assert_detections(output, case, selection(config))


@pytest.mark.reference("dense_model", systems=("yolox",))
def test_detections_of_yolox_equal_the_reference(case: "ReferenceCase") -> None:
    config = case.config
    words = (
        f"model.body.hidden_dim={round(256 * config['width'])}",
        f"model.neck.num_blocks={round(3 * config['depth'])}",
    )
    model = with_classes(plain(composed(config, *words)["model"]), config["num_classes"])
    detector: Detector = make({**model, "backbone": NoBackbone(tuple(config["channels"]))})
    own = detector.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    detector.load_state_dict(counters | YOLOX.from_release(case.state, own))
    maps = [case.inputs[f"feature_{index}"] for index in range(len(config["channels"]))]
    with torch.no_grad():
        features = detector.eval().features(maps, torch.zeros(len(maps[0]), *config["padded_size"], dtype=torch.bool))
        output = detector.body(features)
    for level, feature in enumerate(features.maps):
        assert_close(feature, case.outputs[f"pan_{level}"])
    (stage,) = output.stages.values()
    decoded = torch.cat((stage.boxes, stage.quality[..., None].sigmoid(), stage.logits.sigmoid()), dim=-1)
    assert_close(decoded, case.outputs["decoded"], atol=1e-3)
    assert_yolox(decoded, case)


@pytest.mark.reference("postprocess", systems=("yolox",))
def test_selected_detections_of_yolox_equal_the_reference(case: "ReferenceCase") -> None:
    assert_yolox(case.inputs["decoded"], case)


@pytest.mark.reference("dense_criterion", systems=("yolox",))
def test_losses_of_yolox_equal_the_reference(case: "ReferenceCase") -> None:
    config = case.config
    leaves = {name: case.inputs[name].clone().requires_grad_() for name in ("reg", "obj_logit", "cls_logits")}
    centres = [
        torch.cartesian_prod(torch.arange(height) + 0.5, torch.arange(width) + 0.5).flip(1) * stride
        for (height, width), stride in zip(config["spatial_shapes"], config["strides"], strict=True)
    ]
    counts = [len(of_level) for of_level in centres]
    strides = torch.tensor(config["strides"], dtype=torch.float32).repeat_interleave(torch.tensor(counts))
    priors = torch.cat((torch.cat(centres), strides[:, None].expand(-1, 2)), dim=1)
    boxes = DeltaCodec(origin="corner", largest_log=100.0)(leaves["reg"], priors, strides)
    stage = Prediction(
        leaves["cls_logits"],
        boxes,
        priors.expand_as(boxes),
        quality=leaves["obj_logit"][..., 0],
        code=leaves["reg"],
        given=case.outputs["assigned"],
    )
    terms: dict[str, Any] = {
        "class_terms": {"loss_obj": ObjectnessLoss(), "loss_cls": MatchedClassLoss()},
        "box_terms": {"loss_iou": IoULoss(weight=5.0, power=2.0)},
        "normalizer": "num_positives",
    }
    if config["use_l1"]:
        terms["box_terms"]["loss_l1"] = DeltaL1Loss(origin="corner")
    criterion = Criterion({"dense": Rule(GivenAssigner(), **terms, ignore_coverage=None)})
    losses = criterion(DetectionOutput({StageKey("dense"): stage}, StageKey("dense")), pixel_targets(case), Draw.of(0))
    for (_, name), term in zip(losses.names, losses.terms() * losses.weights, strict=True):
        torch.testing.assert_close(term.detach(), case.outputs[f"loss/{name}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


def assert_yolox(decoded: Tensor, case: "ReferenceCase") -> None:
    """Detections of decoded boxes with probabilities, in pixels."""
    boxes, quality, classes = decoded.split((4, 1, decoded.shape[2] - 5), dim=-1)
    grid = ((1, decoded.shape[1], 1),)
    prediction = Prediction(classes.logit(), boxes, boxes, quality=quality[..., 0].logit(), grid=grid)
    threshold, overlap = case.config["conf_thre"], case.config["nms_thre"]
    options: dict[str, Any] = {"clips": False, "drops_empty": False, "best_class": True, "score": QualityScore()}
    selection = PerLevelNMS(
        threshold=threshold, iou_threshold=overlap, pre_topk=10_000, max_detections=10_000, **options
    )
    found = selection(prediction, torch.ones(len(boxes), 2))
    for image in range(len(boxes)):
        is_detection = found.is_detection[image]
        assert_close(found.boxes[image][is_detection], case.outputs[f"boxes_{image}"], atol=1e-3)
        expected = case.outputs[f"obj_{image}"] * case.outputs[f"cls_{image}"]
        assert_close(found.scores[image][is_detection], expected)
        assert torch.equal(found.labels[image][is_detection], case.outputs[f"labels_{image}"])


@pytest.mark.reference("dense_postprocess", systems=SYSTEMS)
def test_selected_detections_equal_the_reference(case: "ReferenceCase") -> None:
    stage, _ = given(case)
    sizes = case.inputs["image_sizes"].float()
    output = DetectionOutput({StageKey("dense"): stage}, StageKey("dense"), sizes.flip(1).repeat(1, 2))
    assert_detections(output, case, selection(case.config))


@pytest.mark.reference("dense_criterion", systems=SYSTEMS)
def test_losses_equal_the_reference(case: "ReferenceCase") -> None:
    stage, leaves = given(case)
    targets = pixel_targets(case)
    assigned = case.outputs.get("assigned", case.outputs.get("matched_idxs"))
    assert assigned is not None
    output = DetectionOutput({StageKey("dense"): replace(stage, given=assigned)}, StageKey("dense"))
    own = rule(case.config)
    if "normalized_metrics" in case.outputs and own.normalizer == "quality":
        own = replace(own, assigner=GivenQuality(case.outputs["normalized_metrics"]))
    losses = Criterion({"dense": own})(output, targets, Draw.of(0))
    found = {name: term for (_, name), term in zip(losses.names, losses.terms() * losses.weights, strict=True)}
    for name, term in found.items():
        torch.testing.assert_close(term.detach(), case.outputs[f"loss/{name}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


@dataclass(frozen=True)
class GivenQuality:
    """The assignment of a case with its qualities."""

    quality: Tensor

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        return replace(GivenAssigner()(prediction, targets, draw), quality=self.quality)


def dense_detector(case: "ReferenceCase") -> Detector:
    """The detector of a case with its weights, in evaluation mode."""
    config = case.config
    words = [
        f"model.body.hidden_dim={config['hidden_dim']}",
        f"model.body.head.num_convs={config.get('num_convs', config.get('stacked_convs'))}",
    ]
    norm = config.get("norm") or (f"GN{config['num_groups']}" if "num_groups" in config else None)
    if norm is not None:
        words.append(f"model.body.head.num_groups={norm.removeprefix('GN')}")
    if "reg_max" in config:
        words.append(f"model.body.codec.bins={config['reg_max'] + 1}")
    if "anchor_sizes" in config:
        words.append(f"model.body.priors.sizes={config['anchor_sizes']}")
    model = with_classes(plain(composed(config, *words)["model"]), config["num_classes"])
    detector: Detector = make({**model, "backbone": NoBackbone(tuple(config["channels"]))})
    state = {name: value for name, value in case.state.items() if name != "bbox_head.integral.project"}
    detector.load_state_dict(layout_of(detector.state_dict()).from_release(state, detector.state_dict()))
    return detector.eval()


def selection(config: Mapping[str, Any]) -> PerLevelNMS:
    """The post-processing of a case."""
    post = config.get("post")
    if post is not None:
        nms = {"threshold": post["score_thr"], "pre_topk": post["nms_pre"], "max_detections": post["max_per_img"]}
        overlap = post["nms"]["iou_threshold"]
    else:
        nms = {
            "threshold": config["score_thresh"],
            "pre_topk": config["topk_candidates"],
            "max_detections": config["detections_per_img"],
        }
        overlap = config["nms_thresh"]
    if config["system"] == "tood":
        return PerLevelNMS(**nms, iou_threshold=overlap, score=tood_score(config), clips=False)
    if config["system"] == "fcos":
        return PerLevelNMS(**nms, iou_threshold=overlap, score=QualityScore(root=True), drops_empty=False)
    if config["system"] == "atss":
        return PerLevelNMS(**nms, iou_threshold=overlap, score=QualityScore(), rank=SigmoidScore())
    return PerLevelNMS(**nms, iou_threshold=overlap, drops_empty=post is not None)


def rule(config: Mapping[str, Any]) -> Rule:
    """The losses of a system under the names of the reference."""
    system = config["system"]
    if system.startswith("retinanet"):
        boxes = DeltaL1Loss() if config["loss_type"] == "l1" else GIoULoss(weight=1.0, eps=config["giou_eps"])
        terms: dict[str, Any] = {
            "class_terms": {"classification": FocalLoss()},
            "box_terms": {"bbox_regression": boxes},
            "normalizer": "images",
        }
    elif system == "fcos":
        terms = {
            "class_terms": {"classification": FocalLoss()},
            "box_terms": {
                "bbox_regression": GIoULoss(weight=1.0, eps=config["giou_eps"]),
                "bbox_ctrness": CenternessLoss(),
            },
            "normalizer": "num_positives",
        }
    elif system == "tood" and config["epoch"] < config["initial_epoch"]:
        terms = {
            "class_terms": {"loss_cls": FocalLoss()},
            "box_terms": {"loss_bbox": WeightedGIoULoss()},
            "normalizer": "num_positives",
        }
    elif system == "tood":
        terms = {
            "class_terms": {"loss_cls": QualityFocalLoss()},
            "box_terms": {"loss_bbox": WeightedGIoULoss(by="quality")},
            "normalizer": "quality",
        }
    elif system == "atss":
        terms = {
            "class_terms": {"loss_cls": FocalLoss()},
            "box_terms": {"loss_bbox": WeightedGIoULoss(), "loss_centerness": CenternessLoss()},
            "normalizer": "num_positives_each",
        }
    else:
        by_score = WeightedGIoULoss(by="score")
        terms = {
            "class_terms": {"loss_cls": QualityFocalLoss()},
            "box_terms": {"loss_bbox": by_score, "loss_dfl": DistributionFocalLoss(bins=config["reg_max"] + 1)},
            "normalizer": "num_positives_each",
        }
    return Rule(GivenAssigner(), **terms, ignore_coverage=None)


def given(case: "ReferenceCase") -> tuple[Prediction, dict[str, Tensor]]:
    """The one stage of a case, and its leaves under the names of the case."""
    config = case.config
    names = ("cls_logits", "cls_scores", "bbox_pred", "bbox_regression", "centerness", "bbox_ctrness")
    leaves = {name: case.inputs[name].clone().requires_grad_() for name in names if name in case.inputs}
    quality = next((leaves[name] for name in ("centerness", "bbox_ctrness") if name in leaves), None)
    code = leaves["bbox_pred" if "bbox_pred" in leaves else "bbox_regression"]
    corners = case.inputs["anchors" if "anchors" in case.inputs else "priors"]
    priors = box_convert(corners, "xyxy", "cxcywh")
    cells = [height * width for height, width in config["spatial_shapes"]]
    per_cell = len(priors) // sum(cells)
    strides = torch.cat([torch.full((per_cell * n,), 8.0 * 2**level) for level, n in enumerate(cells)])
    if config["system"] == "tood":  # probabilities, and corners in strides
        boxes, logits = box_convert(code * strides[:, None], "xyxy", "cxcywh"), leaves["cls_scores"].logit()
    else:
        boxes, logits = codec(config)(code, priors, strides), leaves["cls_logits"]
    stage = Prediction(
        logits,
        boxes,
        priors.expand_as(boxes),
        grid=tuple((height, width, per_cell) for height, width in config["spatial_shapes"]),
        strides=strides,
        quality=None if quality is None else quality[..., 0],
        code=code,
    )
    return stage, leaves


def tood_score(config: Mapping[str, Any]) -> Score:
    """Of a detector; cases without one give probabilities, whose logits ours are then."""
    return SigmoidScore() if config["hidden_dim"] is None else QualityScore(root=True)


def codec(config: Mapping[str, Any]) -> DeltaCodec | DistanceCodec | DistributionCodec:
    """The one of a system."""
    if config["system"] == "fcos":
        return DistanceCodec()
    if config["system"] == "gfl":
        return DistributionCodec(bins=config["reg_max"] + 1)
    stds = config.get("bbox_coder_stds")
    return DeltaCodec() if stds is None else DeltaCodec(factors=[1 / std for std in stds], both=True)


def pixel_targets(case: "ReferenceCase") -> Targets:
    """The objects of a case, whose boxes are corners in pixels of the padded image."""
    counts = case.inputs["sizes"].tolist()
    height, width = case.config["padded_size"]
    frame = torch.tensor([width, height, width, height], dtype=torch.float32)
    most = max(1, *counts)
    boxes, labels = torch.zeros(len(counts), most, 4), torch.zeros(len(counts), most, dtype=torch.int64)
    is_object = torch.arange(most) < torch.tensor(counts)[:, None]
    boxes[is_object] = box_convert(case.inputs["boxes"], "xyxy", "cxcywh") / frame
    labels[is_object] = case.inputs["labels"]
    return Targets(
        boxes,
        labels,
        is_object,
        areas=torch.zeros(len(counts), most),
        ignore_boxes=torch.zeros(len(counts), 1, 4),
        is_ignore=torch.zeros(len(counts), 1, dtype=torch.bool),
        sizes=torch.tensor([[height, width]] * len(counts), dtype=torch.float32),
        most_objects=max(counts),
    )


def assert_detections(output: DetectionOutput, case: "ReferenceCase", selection: PerLevelNMS) -> None:
    """In pixels of the image that the network sees and of the file."""
    for sizes, prefix in (("image_sizes", ""), ("original_sizes", "original_")):
        found = selection(output.final, case.inputs[sizes])
        for image in range(len(found.boxes)):
            is_detection = found.is_detection[image]
            assert_close(found.boxes[image][is_detection], case.outputs[f"{prefix}boxes_{image}"], atol=1e-3)
            if not prefix:
                assert_close(found.scores[image][is_detection], case.outputs[f"scores_{image}"])
                assert torch.equal(found.labels[image][is_detection], case.outputs[f"labels_{image}"])


def assert_close(found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    """By the tolerance of the set."""
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=atol)


@pytest.mark.reference("model", systems=("centernet",))
def test_detections_of_centernet_equal_the_reference(case: "ReferenceCase") -> None:
    config, feature = case.config, case.inputs["feature"]
    words = ("model.body.hidden_dim=16", f"model.neck.filters={config['deconv_filters']}")
    model = with_classes(plain(composed(config, *words)["model"]), config["num_classes"])
    detector: Detector = make({**model, "backbone": NoBackbone((config["in_channels"],))})
    own = detector.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    detector.load_state_dict(counters | CENTERNET.from_release(case.state, own))
    (level,) = detector.eval().neck([feature])
    assert_close(level, case.outputs["neck"])
    head = detector.body.head
    assert isinstance(head, CentreHead)
    logits, code, _ = head([level])
    height, width = level.shape[-2:]
    maps = torch.cat((logits.sigmoid(), code), dim=-1).transpose(1, 2).unflatten(2, (height, width))
    for name, found in zip(("heatmap", "offset", "wh"), maps.split((logits.shape[2], 2, 2), dim=1), strict=True):
        assert_close(found, case.outputs[name])
    stage, frame = centres(logits, code, (height, width), config)
    output = DetectionOutput({StageKey("dense"): stage}, StageKey("dense"), frame)
    found = Peaks(kernel=config["kernel"], max_detections=config["topk"])(output.final, frame[:, [1, 0]])
    for image in range(len(feature)):
        expected = case.outputs["original_decode"][image]
        assert_close(found.boxes[image] / config["stride"], expected[:, :4], atol=1e-3)
        assert_close(found.scores[image], expected[:, 4])
        assert torch.equal(found.labels[image], expected[:, 5].long())


@pytest.mark.reference("criterion", systems=("centernet",))
def test_losses_of_centernet_equal_the_reference(case: "ReferenceCase") -> None:
    if case.config["variant"] != "mmdet":
        pytest.skip("the release's own normaliser, which counts objects, is not there")
    config = case.config
    leaves = {name: case.inputs[name].clone().requires_grad_() for name in ("heatmap_logits", "wh", "offset")}
    rows = {name: part.flatten(2).transpose(1, 2) for name, part in leaves.items()}
    code = torch.cat((rows["offset"], rows["wh"]), dim=-1)
    shape = (leaves["wh"].shape[2], leaves["wh"].shape[3])
    stage, _ = centres(rows["heatmap_logits"], code, shape, config)
    terms: dict[str, Any] = {
        "class_terms": {"loss_center_heatmap": HeatMapLoss(focusing=config["alpha"], fall_off=config["gamma"])},
        "box_terms": {
            "loss_wh": CentreL1Loss(of="size", weight=config["wh_weight"]),
            "loss_offset": CentreL1Loss(of="offset", weight=config["offset_weight"]),
        },
        "normalizer": "num_positives",
    }
    rule = Rule(GaussianAssigner(min_overlap=config["min_overlap"]), **terms, ignore_coverage=None)
    output = DetectionOutput({StageKey("dense"): stage}, StageKey("dense"))
    losses = Criterion({"dense": rule})(output, pixel_targets(case), Draw.of(0))
    for (_, name), term in zip(losses.names, losses.terms() * losses.weights, strict=True):
        torch.testing.assert_close(term.detach(), case.outputs[f"loss/{name}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


def centres(
    logits: Tensor, code: Tensor, shape: tuple[int, int], config: Mapping[str, Any]
) -> tuple[Prediction, Tensor]:
    """The one stage of a map, in pixels, and the ``[B, 4]`` frame of the padded image."""
    height, width, stride = *shape, float(config["stride"])
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(1) * stride
    priors = torch.cat((cells, torch.full_like(cells, stride)), dim=1)
    strides = torch.full((len(cells),), stride)
    boxes = CentreCodec()(code, priors, strides)
    stage = Prediction(logits, boxes, priors.expand_as(boxes), grid=((height, width, 1),), strides=strides, code=code)
    frame = torch.tensor([width, height, width, height]) * stride
    return stage, frame.expand(len(logits), -1)
