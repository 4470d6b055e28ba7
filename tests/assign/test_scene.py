"""Objects and candidates in pixels, a bounded number of objects at a time."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from deta.assign import (
    Assigner,
    ATSSAssigner,
    FCOSAssigner,
    GaussianAssigner,
    MaxIoUAssigner,
    OnePerObjectAssigner,
    Prediction,
    SimOTAAssigner,
    Targets,
    TaskAlignedAssigner,
    TopKIoUAssigner,
    scene,
)
from deta.assign.scene import in_pixels, own_boxes, parts, to_sides
from deta.ops.boxes import to_corners
from tests.assign.scenes import assigned, objects, random_scene

RULES = (
    ATSSAssigner(k=4),
    FCOSAssigner(),
    MaxIoUAssigner(),
    MaxIoUAssigner(low_quality="last_object"),
    OnePerObjectAssigner(),
    SimOTAAssigner(),
    TaskAlignedAssigner(k=4),
    TopKIoUAssigner(k=5),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_objects_in_parts_are_assigned_as_at_once(rule: Assigner, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, seen = random_scene(0)
    levels = torch.arange(prediction.num_candidates) % 3
    prediction = replace(prediction, levels=levels, strides=8.0 * 2**levels)
    _assert_alike_in_parts(rule, prediction, seen, monkeypatch)


def test_objects_in_parts_make_the_same_heat_map(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, seen = random_scene(0)
    prediction = replace(prediction, grid=((6, 10, 1),), strides=torch.full((60,), 10.0))
    _assert_alike_in_parts(GaussianAssigner(), prediction, seen, monkeypatch)


def test_parts_are_as_large_as_the_table_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, seen = random_scene(0)
    monkeypatch.setattr(scene, "LARGEST_TABLE", 4 * prediction.can_match().numel() + 1)
    found = parts(prediction, seen)
    assert [(part.start, part.boxes.shape[1]) for part in found] == [(0, 4), (4, 4), (8, 1)]
    monkeypatch.setattr(scene, "LARGEST_TABLE", 1)
    assert len(parts(prediction, seen)) == 9


def test_relative_boxes_are_in_pixels_and_those_in_pixels_stay() -> None:
    prediction, seen = random_scene(0)
    pixels, targets = in_pixels(prediction, seen)
    torch.testing.assert_close(pixels.priors, prediction.priors * 100)
    torch.testing.assert_close(targets.boxes, seen.boxes * 100)
    again, same = in_pixels(pixels, targets)
    assert torch.equal(again.priors, pixels.priors)
    assert torch.equal(same.boxes, targets.boxes)


def test_distances_to_sides_are_those_of_the_centre() -> None:
    nearest, farthest = to_sides(torch.tensor([[[3.0, 5.0, 9.0, 9.0]]]), torch.tensor([[[1.0, 2.0, 11.0, 6.0]]]))
    assert nearest.item() == 1  # to the lower side
    assert farthest.item() == 8  # to the right side


def test_boxes_of_every_class_are_those_of_the_class_of_each_object() -> None:
    prediction, seen = random_scene(0)
    boxes = torch.rand(4, 60, 12, 4)
    found = own_boxes(replace(prediction, boxes=boxes), seen.labels)
    assert found.shape == (4, 9, 60, 4)
    torch.testing.assert_close(found[0, 3, 7], to_corners(boxes[0, 7, seen.labels[0, 3]]))
    assert own_boxes(prediction, seen.labels).shape == (4, 1, 60, 4)


def test_a_rule_in_relative_units_sees_what_it_sees_in_pixels() -> None:
    prediction, seen = random_scene(0)
    pixels = prediction.in_pixels()
    relative = assigned(MaxIoUAssigner(), prediction, seen)
    absolute = assigned(MaxIoUAssigner(), pixels, seen.in_pixels())
    assert torch.equal(relative.target, absolute.target)
    iou = box_iou(to_corners(pixels.priors[0]), to_corners(seen.in_pixels().boxes[0, :5]))
    is_over = (iou.amax(1) >= 0.5) & prediction.can_match()[0]
    assert (relative.target[0][is_over] >= 0).all()


def test_no_object_leaves_one_empty_part() -> None:
    prediction, _ = random_scene(0, sizes=(1,))
    found = parts(prediction, objects([]))
    assert [part.boxes.shape for part in found] == [(1, 0, 4)]


def _assert_alike_in_parts(
    rule: Assigner, prediction: Prediction, seen: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = assigned(rule, prediction, seen)
    assert at_once.is_positive().any()
    monkeypatch.setattr(scene, "LARGEST_TABLE", 2 * prediction.can_match().numel())
    in_parts = assigned(rule, prediction, seen)
    assert torch.equal(in_parts.target, at_once.target)
    for name in ("quality", "class_target"):
        first, second = getattr(in_parts, name), getattr(at_once, name)
        assert first is second is None or torch.equal(first, second)
    for name, note in at_once.notes.items():
        assert torch.equal(in_parts.notes[name], note)
