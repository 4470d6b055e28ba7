"""Candidates whose predictions are good in class and in box."""

from dataclasses import replace

import pytest
import torch

from deta.assign import Prediction, TaskAlignedAssigner
from deta.testing import check_assigner
from tests.assign.scenes import Box, assigned, in_pixels, objects

OBJECT = (50.0, 50.0, 20.0, 20.0)


def scored(*boxes: Box, scores: list[float]) -> Prediction:
    """Of class 0."""
    logits = torch.full((1, len(boxes), 8), -20.0)
    logits[0, :, 0] = torch.tensor(scores).logit()
    return in_pixels(*boxes, logits=logits)


@pytest.mark.parametrize("soft", [True, False])
def test_the_rule_does_what_every_rule_must(soft: bool) -> None:
    check_assigner(TaskAlignedAssigner(k=3, soft=soft))


def test_the_best_by_score_and_overlap_are_positive() -> None:
    # IoU 1, 1, .5: the metrics are .1, .8, .9 / 64.
    prediction = scored(OBJECT, OBJECT, (50.0, 50.0, 20.0, 10.0), scores=[0.1, 0.8, 0.9])
    assert assigned(TaskAlignedAssigner(k=1), prediction, objects([OBJECT])).target.tolist() == [[-1, 0, -1]]
    assert assigned(TaskAlignedAssigner(k=2), prediction, objects([OBJECT])).target.tolist() == [[0, 0, -1]]
    by_score = TaskAlignedAssigner(k=1, beta=0.0)
    assert assigned(by_score, prediction, objects([OBJECT])).target.tolist() == [[-1, -1, 0]]


def test_the_quality_is_the_metric_relative_to_the_best_times_the_highest_overlap() -> None:
    prediction = scored((50.0, 50.0, 20.0, 16.0), (50.0, 50.0, 20.0, 10.0), scores=[0.5, 0.9])
    matches = assigned(TaskAlignedAssigner(), prediction, objects([OBJECT]))
    metric = torch.tensor([0.5 * 0.8**6, 0.9 * 0.5**6])
    assert matches.quality is not None
    torch.testing.assert_close(matches.quality[0], metric / metric.max() * 0.8)
    assert assigned(TaskAlignedAssigner(soft=False), prediction, objects([OBJECT])).quality is None


def test_a_candidate_with_metric_0_is_never_positive() -> None:
    prediction = scored((80.0, 80.0, 10.0, 10.0), scores=[0.9])
    inside = replace(prediction, priors=torch.tensor([[OBJECT]]))
    assert assigned(TaskAlignedAssigner(), inside, objects([OBJECT])).target.tolist() == [[-1]]


def test_the_centre_of_the_prior_must_lie_inside_by_more_than_a_hundredth_of_a_pixel() -> None:
    for distance, expected in ((0.005, -1), (0.02, 0)):
        priors = torch.tensor([[[40.0 + distance, 50.0, 5.0, 5.0]]])
        prediction = replace(scored(OBJECT, scores=[0.9]), priors=priors)
        assert assigned(TaskAlignedAssigner(), prediction, objects([OBJECT])).target.tolist() == [[expected]]


def test_a_candidate_outside_still_takes_one_of_the_places() -> None:
    prediction = scored(OBJECT, (50.0, 50.0, 20.0, 10.0), scores=[0.9, 0.9])
    outside = replace(prediction, priors=torch.tensor([[[90.0, 90.0, 5.0, 5.0], list(OBJECT)]]))
    assert assigned(TaskAlignedAssigner(k=1), outside, objects([OBJECT])).target.tolist() == [[-1, -1]]


def test_a_candidate_of_two_objects_answers_for_the_larger_overlap_not_for_the_larger_metric() -> None:
    logits = torch.full((1, 1, 8), -20.0)
    logits[0, 0, :2] = torch.tensor([0.01, 0.99]).logit()
    prediction = in_pixels(OBJECT, logits=logits)
    found = assigned(TaskAlignedAssigner(), prediction, objects([OBJECT, (50.0, 50.0, 20.0, 18.0)]))
    assert found.target.tolist() == [[0]]
    assert found.notes["contested"].all()


def test_boxes_of_every_class_are_read_for_the_class_of_the_object() -> None:
    prediction = scored(OBJECT, OBJECT, scores=[0.9, 0.9])
    boxes = torch.full((1, 2, 8, 4), 5.0)
    boxes[0, 1, 0] = torch.tensor(OBJECT)
    prediction = replace(prediction, boxes=boxes)
    assert assigned(TaskAlignedAssigner(), prediction, objects([OBJECT])).target.tolist() == [[-1, 0]]


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="alpha must be at least 0, got -1"):
        TaskAlignedAssigner(alpha=-1.0)
