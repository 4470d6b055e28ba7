"""One candidate for every object, among those that overlap it."""

from dataclasses import replace

import pytest
import torch

from deta.assign import OnePerObjectAssigner, Prediction
from deta.testing import check_assigner
from tests.assign.scenes import Box, assigned, in_pixels, objects

OBJECT = (50.0, 50.0, 20.0, 20.0)


def scored(*boxes: Box, scores: list[float]) -> Prediction:
    """Of class 0."""
    logits = torch.full((1, len(boxes), 8), -20.0)
    logits[0, :, 0] = torch.tensor(scores).logit()
    return in_pixels(*boxes, logits=logits)


def test_the_rule_does_what_every_rule_must() -> None:
    check_assigner(OnePerObjectAssigner())


def test_the_best_of_score_and_box_among_those_that_overlap_enough_is_the_only_positive() -> None:
    # IoU 1, .8, .45: the costs are -.1, -.9 + .4, and the third, with the best score, overlaps too little.
    prediction = scored(OBJECT, (50.0, 50.0, 20.0, 16.0), (50.0, 50.0, 20.0, 9.0), scores=[0.1, 0.9, 0.99])
    assert assigned(OnePerObjectAssigner(), prediction, objects([OBJECT])).target.tolist() == [[-1, 0, -1]]
    by_box = OnePerObjectAssigner(giou_weight=10.0)
    assert assigned(by_box, prediction, objects([OBJECT])).target.tolist() == [[0, -1, -1]]


def test_of_equal_candidates_the_first_is_positive() -> None:
    prediction = scored(OBJECT, OBJECT, scores=[0.5, 0.5])
    assert assigned(OnePerObjectAssigner(), prediction, objects([OBJECT])).target.tolist() == [[0, -1]]


def test_an_overlap_that_equals_the_threshold_is_enough() -> None:
    prediction = scored((50.0, 50.0, 20.0, 10.0), scores=[0.5])
    assert assigned(OnePerObjectAssigner(), prediction, objects([OBJECT])).target.tolist() == [[0]]


def test_a_candidate_stands_for_the_object_that_it_overlaps_most_alone() -> None:
    # It would be the best of the second object too, which goes without.
    prediction = scored(OBJECT, scores=[0.5])
    found = assigned(OnePerObjectAssigner(), prediction, objects([OBJECT, (50.0, 50.0, 20.0, 18.0)]))
    assert found.target.tolist() == [[0]]
    assert found.notes["contested"].all()


def test_boxes_of_every_class_are_read_for_the_class_of_the_object() -> None:
    prediction = scored(OBJECT, OBJECT, scores=[0.5, 0.5])
    boxes = torch.full((1, 2, 8, 4), 5.0)
    boxes[0, 1, 0] = torch.tensor(OBJECT)
    prediction = replace(prediction, boxes=boxes)
    assert assigned(OnePerObjectAssigner(), prediction, objects([OBJECT])).target.tolist() == [[-1, 0]]


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"iou must be in \[0, 1\], got 2.0"):
        OnePerObjectAssigner(iou=2.0)
