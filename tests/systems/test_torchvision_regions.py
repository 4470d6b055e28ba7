"""Faster R-CNN of torchvision beside ours with the same weights, on photographs, part by part."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_convert

from deta.building.build import make, make_detector
from deta.building.published import published_model
from deta.models import Detector
from deta.models.releases import from_release
from deta.models.roi.body import RoIBody
from tests.systems.published import composed
from tests.systems.test_torchvision import Compared, entered, photographs, randomised

MAKERS: Mapping[str, tuple[Callable[..., nn.Module], int]] = {
    "faster_rcnn_r50_fpn_torchvision": (fasterrcnn_resnet50_fpn, 3),
    "faster_rcnn_r50_fpn_v2_torchvision": (fasterrcnn_resnet50_fpn_v2, 3),
}
"""Theirs, and a seed of its weights with which no two boxes overlap by just the threshold of a suppression."""
OFTEN = [pytest.param(stem, marks=pytest.mark.slow if "v2" in stem else pytest.mark.gate) for stem in MAKERS]


def spread_out(
    theirs: Any,  # noqa: ANN401 - torchvision has no types
    levels: Mapping[str, Tensor],
    batch: ImageList,
) -> None:
    """Choose the last scales so that scores and boxes of both stages differ: fresh ones hardly do."""
    objectness, deltas = theirs.rpn.head(list(levels.values()))
    for layer, found, deviation in (
        (theirs.rpn.head.cls_logits, objectness, 2.0),
        (theirs.rpn.head.bbox_pred, deltas, 0.3),
    ):
        layer.weight *= deviation / torch.cat([level.flatten() for level in found]).std()
    roi = theirs.roi_heads
    proposals, _ = theirs.rpn(batch, levels)
    logits, codes = roi.box_predictor(roi.box_head(roi.box_roi_pool(levels, proposals, batch.image_sizes)))
    roi.box_predictor.cls_score.weight *= 2.0 / logits.std()
    roi.box_predictor.bbox_pred.weight *= 1.0 / codes.std()


@cache
def compared(stem: str, folder: Path) -> Compared:
    """Both detectors, once."""
    images = photographs(folder)
    with torch.no_grad():
        maker, seed = MAKERS[stem]
        theirs = randomised(maker, seed, is_exact="v2" not in stem)
        batch, _ = theirs.transform([image.clone() for image in images])
        levels = theirs.backbone(batch.tensors)
        spread_out(theirs, levels, batch)
        objectness, deltas = theirs.rpn.head(list(levels.values()))
        proposals, _ = theirs.rpn(batch, levels)
        roi = theirs.roi_heads
        pooled = roi.box_roi_pool(levels, proposals, batch.image_sizes)
        logits, codes = roi.box_predictor(roi.box_head(pooled))

        cfg = composed(stem)
        ours = make_detector(published_model(cfg), cfg.num_classes)
        assert isinstance(ours, Detector)
        assert isinstance(ours.body, RoIBody)
        ours.load_state_dict(from_release(theirs.state_dict(), ours))
        pixels, is_padding = entered(ours.eval(), images)
        features = ours.features(ours.backbone(pixels), is_padding)
        output = ours.body(features)
        first, second = output.stages.values()
        names = {f"level {name}": pair for name, pair in enumerate(zip(levels.values(), features.maps, strict=True))}
        names["objectness"] = (flat(objectness, 1), first.logits)
        names["deltas"] = (flat(deltas, 4), first.code)
        real, boxes = second.exists, box_convert(second.priors, "cxcywh", "xyxy")
        rows = same_boxes(proposals, [boxes[image][real[image]] for image in range(len(images))])
        names["proposals"] = (torch.cat(proposals)[rows], boxes[real])
        names["features of regions"] = (pooled[rows], ours.body.pooling(features, second.priors)[0][real])
        names["logits"] = (logits[rows], second.logits[real].roll(1, -1))  # theirs begin with the background
        names["codes"] = (codes[rows, 4:], second.code[real][:, : codes.shape[1] - 4])
        postprocess = make(cfg.postprocess)
        return Compared(names, theirs(images), postprocess(output.final, torch.tensor(batch.image_sizes)))


def same_boxes(theirs: list[Tensor], ours: list[Tensor]) -> Tensor:
    """The row of theirs for each of our boxes, image by image: of scores that lie close, sums decide the order."""
    rows, begin = [], 0
    for first, second in zip(theirs, ours, strict=True):
        nearest = torch.cdist(second, first).argmin(1)
        assert sorted(nearest.tolist()) == list(range(len(first)))  # each of them once
        rows.append(begin + nearest)
        begin += len(first)
    return torch.cat(rows)


def flat(levels: list[Tensor], width: int) -> Tensor:
    """``[B, N, width]`` of maps ``[B, A * width, h, w]``, cell by cell."""
    rows = [level.unflatten(1, (-1, width)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in levels]  # [B, hwA, width]
    return torch.cat(rows, dim=1)


@pytest.mark.parametrize("stem", OFTEN)
def test_every_part_gives_what_theirs_gives(stem: str, shared: Path) -> None:
    for name, (theirs, ours) in compared(stem, shared).names.items():
        assert ours.shape == theirs.shape, name
        difference = (ours - theirs).abs().max() / theirs.abs().max()
        assert difference < 5e-5, name  # sums in another order


@pytest.mark.parametrize("stem", OFTEN)
def test_detections_are_theirs_in_their_order(stem: str, shared: Path) -> None:
    for theirs, _, labels, boxes in compared(stem, shared).detections():
        assert torch.equal(labels, theirs["labels"] - 1)  # theirs begin with the background
        torch.testing.assert_close(boxes, theirs["boxes"], rtol=1e-4, atol=2e-3)
