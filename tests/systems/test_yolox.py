"""YOLOX behind the backbone, its losses and its detections, against the references."""

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from deta.assign import Draw, GivenAssigner
from deta.building.build import make, plain, with_classes
from deta.losses import Criterion, DeltaL1Loss, IoULoss, MatchedClassLoss, ObjectnessLoss, Rule
from deta.models import DeltaCodec, Detector
from deta.models.postprocess import PerLevelNMS
from deta.models.releases.yolox import YOLOX
from deta.structures import DetectionOutput, Prediction, QualityScore, StageKey
from tests.golden.detectors import NoBackbone
from tests.systems.dense import assert_close, assert_losses, pixel_targets
from tests.systems.detectors import composed

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


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
    assert_losses(losses, leaves, case)


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
