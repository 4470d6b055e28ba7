"""Dense detectors behind the backbone, their losses and their detections, against the references."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert

from deta.assign import Draw, GivenAssigner
from deta.building.build import make, plain, with_classes
from deta.losses import (
    CenternessLoss,
    Criterion,
    DeltaL1Loss,
    DistributionFocalLoss,
    FocalLoss,
    GIoULoss,
    QualityFocalLoss,
    Rule,
    WeightedGIoULoss,
)
from deta.models import DeltaCodec, Detector, DistanceCodec, DistributionCodec
from deta.models.postprocess import PerLevelNMS
from deta.models.releases import layout_of
from deta.structures import DetectionOutput, Matches, Prediction, QualityScore, Score, SigmoidScore, StageKey, Targets
from tests.golden.detectors import NoBackbone
from tests.systems.dense import assert_close, assert_losses, pixel_targets
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
    assert_losses(losses, leaves, case)


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
