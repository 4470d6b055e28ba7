"""Dense detectors of torchvision beside ours with the same weights, on photographs, part by part."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import fcos_resnet50_fpn, retinanet_resnet50_fpn, retinanet_resnet50_fpn_v2
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_convert

from deta.building.build import make
from deta.building.published import published_model
from deta.data.images import ImageRules, decode_image
from deta.models import Detector
from deta.models.releases import from_release
from deta.structures import DetectionOutput, Detections
from tests.systems.published import composed

MAKERS: Mapping[str, tuple[Callable[..., nn.Module], int]] = {
    "retinanet_r50_fpn_torchvision": (retinanet_resnet50_fpn, 5),
    "retinanet_r50_fpn_v2_torchvision": (retinanet_resnet50_fpn_v2, 1),
    "fcos_r50_fpn_torchvision": (fcos_resnet50_fpn, 2),
}
"""Theirs, and a seed of its weights with which the best scores of every image lie well apart."""
OFTEN = [pytest.param(stem, marks=pytest.mark.slow if "v2" in stem else pytest.mark.gate) for stem in MAKERS]
POSTPROCESS = {"drops_empty": False}
"""Theirs keeps boxes that the edge of the image has left no area, which match nothing."""
SHORT_SIDE = 192
"""Of the photographs, in pixels."""
SHARE = 1e-3
"""Of all class scores that lie above the threshold."""
LEAST = 50
"""Detections of an image that are compared one by one."""


@dataclass(frozen=True)
class Compared:
    """What both detectors make of the same photographs.

    Attributes:
        names: Of parts, in the order in which they act, with theirs and ours.
        theirs: Their detections of every image.
        ours: Our detections.
    """

    names: Mapping[str, tuple[Tensor, Tensor]]
    theirs: list[dict[str, Tensor]]
    ours: Detections

    def detections(self) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor, Tensor]]:
        """Of each image theirs, and our scores, labels and boxes: as many, of the same scores in the same order."""
        for image, theirs in enumerate(self.theirs):
            is_detection = self.ours.is_detection[image]
            scores, labels, boxes = (
                values[image][is_detection] for values in (self.ours.scores, self.ours.labels, self.ours.boxes)
            )
            assert len(scores) == len(theirs["scores"]) >= LEAST
            torch.testing.assert_close(scores, theirs["scores"], rtol=1e-4, atol=1e-5)
            yield theirs, scores, labels, boxes


def photographs(folder: Path) -> list[Tensor]:
    """``[3, H, W]`` in 0..1: one that lies and one that stands."""
    found: dict[bool, Tensor] = {}
    for path in sorted((folder / "data" / "coco_sample" / "val2017").glob("*.jpg")):
        image = decode_image(path, name=path.name, rules=ImageRules()).pixels[None] / 255
        height, width = image.shape[-2:]
        scale = SHORT_SIDE / min(height, width)
        size = (round(height * scale), round(width * scale))
        found.setdefault(height > width, functional.interpolate(image, size, mode="bilinear", antialias=True)[0])
    return [found[is_standing] for is_standing in sorted(found)]


def randomised(maker: Callable[..., nn.Module], seed: int, *, is_exact: bool) -> Any:  # noqa: ANN401 - no types
    """One of theirs with norms at random, whose photographs are not resized; norms that are exact have no eps."""
    torch.manual_seed(seed)
    detector: Any = maker(weights=None, weights_backbone=None)
    for name, part in detector.named_modules():
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            scale = 0.3 if name.endswith("bn3") else 1.0  # of a sum of many blocks
            for values, low, high in ((part.weight, 0.5 * scale, 1.5 * scale), (part.bias, -0.2, 0.2)):
                nn.init.uniform_(values, low, high)
        if isinstance(part, nn.BatchNorm2d):
            statistics: Any = part  # which it has
            nn.init.uniform_(statistics.running_mean, -0.2, 0.2)
            nn.init.uniform_(statistics.running_var, 0.5, 1.5)
            part.eps = 0.0 if is_exact else part.eps
    detector.transform.min_size, detector.transform.max_size = (SHORT_SIDE,), 10 * SHORT_SIDE
    return detector.eval()


def spread_out(detector: Any, features: list[Tensor]) -> None:  # noqa: ANN401 - torchvision has no types
    """Choose the last scales and biases so that a share of the scores lies above the threshold, and boxes differ."""
    found, boxes = detector.head(features), detector.head.regression_head
    has_centerness = "bbox_ctrness" in found
    logits = detector.head.classification_head.cls_logits
    last = {"cls_logits": (logits, 2.0), "bbox_regression": (boxes.bbox_reg, 0.5)}
    if has_centerness:
        last["bbox_ctrness"] = (boxes.bbox_ctrness, 2.0)
        boxes.bbox_reg.bias += 1.5  # distances, of which negative ones count as 0
    for name, (layer, deviation) in last.items():
        layer.weight *= deviation / found[name].std()
    values = detector.head(features)["cls_logits"].flatten()
    threshold = torch.tensor(detector.score_thresh ** (2 if has_centerness else 1))
    logits.bias += threshold.logit() - values.kthvalue(int((1 - SHARE) * len(values))).values


@cache
def compared(stem: str, folder: Path) -> Compared:
    """Both detectors, once."""
    images = photographs(folder)
    with torch.no_grad():
        maker, seed = MAKERS[stem]
        theirs = randomised(maker, seed, is_exact=stem == "retinanet_r50_fpn_torchvision")  # as published weights run
        batch, _ = theirs.transform([image.clone() for image in images])
        assert [tuple(image.shape[1:]) for image in images] == batch.image_sizes  # nothing was resized
        body = list(theirs.backbone.body(batch.tensors).values())
        levels = list(theirs.backbone(batch.tensors).values())
        spread_out(theirs, levels)
        ours = our_detector(stem, theirs)
        pixels, is_padding = entered(ours, images)
        features = ours.features(ours.backbone(pixels), is_padding)
        output = ours.body(features)
        names = {"pixels": (batch.tensors, pixels)}
        names |= {f"map {number}": pair for number, pair in enumerate(zip(body, ours.backbone(pixels), strict=True))}
        names |= {f"level {number}": pair for number, pair in enumerate(zip(levels, features.maps, strict=True))}
        names |= predictions(theirs, levels, batch, output)
        most = theirs.detections_per_img
        postprocess = make(composed(stem).postprocess, max_detections=most, **POSTPROCESS)
        sizes = torch.tensor(batch.image_sizes)
        return Compared(names, theirs(images), postprocess(output.final, sizes))


def our_detector(stem: str, theirs: nn.Module) -> Detector:
    """The system with their weights."""
    detector = make({**published_model(composed(stem)), "num_classes": 91})
    assert isinstance(detector, Detector)
    detector.load_state_dict(from_release(theirs.state_dict(), detector))
    return detector.eval()


def entered(detector: Detector, images: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The batch as it enters the backbone, and its padding."""
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    batch, is_padding = torch.zeros(len(images), 3, height, width), torch.ones(len(images), height, width) > 0
    for number, image in enumerate(images):
        batch[number, :, : image.shape[1], : image.shape[2]] = image
        is_padding[number, : image.shape[1], : image.shape[2]] = False
    size = (detector.input.padded_side(height), detector.input.padded_side(width))
    pixels: tuple[Tensor, Tensor] = detector.input(batch, is_padding, size)
    return pixels


def predictions(
    theirs: Any,  # noqa: ANN401 - torchvision has no types
    levels: list[Tensor],
    batch: ImageList,
    output: DetectionOutput,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Outputs of the heads, priors and boxes of all cells."""
    (stage,) = output.stages.values()
    heads = theirs.head(levels)
    priors = theirs.anchor_generator(batch, levels)[0]
    assert stage.code is not None
    pairs = {"logits": (heads["cls_logits"], stage.logits), "code": (heads["bbox_regression"], stage.code)}
    if stage.quality is not None:
        pairs["quality"] = (heads["bbox_ctrness"][..., 0], stage.quality)
    pairs["priors"] = (priors, box_convert(stage.priors[0], "cxcywh", "xyxy"))
    decode = theirs.box_coder.decode if stage.quality is not None else theirs.box_coder.decode_single
    boxes = torch.stack([decode(code, priors) for code in heads["bbox_regression"]])
    pairs["boxes"] = (boxes, box_convert(stage.boxes, "cxcywh", "xyxy"))
    return pairs


@pytest.mark.parametrize("stem", OFTEN)
def test_every_part_gives_what_theirs_gives(stem: str, shared: Path) -> None:
    for name, (theirs, ours) in compared(stem, shared).names.items():
        # Convolutions of another memory layout add in another order: 5e-6 of the largest value at most. An eps of norms
        # of 1e-5 instead of 0 makes 5e-5.
        difference = (ours - theirs).abs().max() / theirs.abs().max()
        assert difference < 2e-5, name


@pytest.mark.parametrize("stem", OFTEN)
def test_detections_are_theirs_in_their_order(stem: str, shared: Path) -> None:
    for theirs, scores, labels, boxes in compared(stem, shared).detections():
        # Beyond the best, scores may lie so close that the order of sums decides.
        assert -theirs["scores"][:LEAST].diff().max() > 3 * (scores - theirs["scores"]).abs().max()
        assert torch.equal(labels[:LEAST], theirs["labels"][:LEAST])
        torch.testing.assert_close(boxes[:LEAST], theirs["boxes"][:LEAST], rtol=1e-4, atol=1e-3)
