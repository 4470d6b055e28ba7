"""CenterNet behind the backbone, its losses and its detections, against the references."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from deta.assign import Draw, GaussianAssigner
from deta.building.build import make, plain, with_classes
from deta.losses import CentreL1Loss, Criterion, HeatMapLoss, Rule
from deta.models import CentreCodec, CentreHead, Detector
from deta.models.postprocess import Peaks
from deta.models.releases.centernet import CENTERNET
from deta.structures import DetectionOutput, Prediction, StageKey
from tests.golden.detectors import NoBackbone
from tests.systems.dense import assert_close, assert_losses, pixel_targets
from tests.systems.detectors import composed

if TYPE_CHECKING:
    from tests.reference_cases import ReferenceCase


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
    config = case.config
    leaves = {name: case.inputs[name].clone().requires_grad_() for name in ("heatmap_logits", "wh", "offset")}
    rows = {name: part.flatten(2).transpose(1, 2) for name, part in leaves.items()}
    code = torch.cat((rows["offset"], rows["wh"]), dim=-1)
    shape = (leaves["wh"].shape[2], leaves["wh"].shape[3])
    stage, _ = centres(rows["heatmap_logits"], code, shape, config)
    output = DetectionOutput({StageKey("dense"): stage}, StageKey("dense"))
    losses = criterion_of(config)(output, pixel_targets(case), Draw.of(0))
    if config["variant"] == "mmdet":
        assert_losses(losses, leaves, case)
        return
    names = {"class": "hm_loss", "size": "wh_loss", "offset": "off_loss"}
    for (_, name), term in zip(losses.names, losses.terms(), strict=True):  # reported without their weights there
        torch.testing.assert_close(term.detach(), case.outputs[f"loss/{names[name]}"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.total().detach(), case.outputs["total"], rtol=1e-4, atol=1e-6)
    gradients = torch.autograd.grad(losses.total(), list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        torch.testing.assert_close(gradient, case.outputs[f"grad/{name}"], rtol=1e-4, atol=2e-5)


def criterion_of(config: dict[str, Any]) -> Criterion:
    """By the variant of a case."""
    if config["variant"] == "original":
        words = ("criterion=centernet_release", "criterion.rules.dense.assigner.radius=original")
        release: Criterion = make(plain(composed(config, *words)["criterion"]))
        return release
    terms: dict[str, Any] = {
        "class_terms": {"loss_center_heatmap": HeatMapLoss(focusing=config["alpha"], fall_off=config["gamma"])},
        "box_terms": {
            "loss_wh": CentreL1Loss(of="size", weight=config["wh_weight"]),
            "loss_offset": CentreL1Loss(of="offset", weight=config["offset_weight"]),
        },
    }
    rule = GaussianAssigner(min_overlap=config["min_overlap"])
    return Criterion({"dense": Rule(rule, **terms, normalizer="num_positives", ignore_coverage=None)})


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
