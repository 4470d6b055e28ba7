"""A threshold of IoU for every object, made of the overlaps of its nearest candidates."""

from dataclasses import replace

import pytest
import torch

from deta.assign import ATSSAssigner
from deta.testing import check_assigner
from tests.assign.scenes import assigned, in_pixels, objects, random_scene

OBJECT = (50.0, 50.0, 20.0, 20.0)


def test_the_rule_does_what_every_rule_must() -> None:
    check_assigner(ATSSAssigner(k=3), needs=["levels"])


def test_the_threshold_is_the_mean_and_the_deviation_with_one_less() -> None:
    # IoU 1 and .5 on the first level, .25 and 0 on the second.
    boxes = ((50.0, 50.0, 20.0, 20.0), (50.0, 50.0, 20.0, 10.0), (50.0, 50.0, 10.0, 10.0), (50.0, 90.0, 20.0, 20.0))
    prediction, seen = in_pixels(*boxes, strides=[8.0, 8.0, 16.0, 16.0]), objects([OBJECT])
    two = ATSSAssigner(k=2).thresholds(prediction, seen)
    all_four = torch.tensor([1.0, 0.5, 0.25, 0.0])
    torch.testing.assert_close(two[0, 0], all_four.mean() + all_four.std())
    one = ATSSAssigner(k=1).thresholds(replace(prediction, may_match=torch.tensor([[True, False, True, True]])), seen)
    torch.testing.assert_close(one[0, 0], all_four[[0, 2]].mean() + all_four[[0, 2]].std())
    assert assigned(ATSSAssigner(k=2), prediction, seen).target.tolist() == [[0, -1, -1, -1]]


def test_an_overlap_that_equals_the_threshold_is_positive() -> None:
    prediction = in_pixels(OBJECT, OBJECT, strides=[8.0, 16.0])  # no deviation: both equal the mean
    assert assigned(ATSSAssigner(), prediction, objects([OBJECT])).target.tolist() == [[0, 0]]


def test_a_centre_must_lie_inside_by_more_than_a_hundredth_of_a_pixel() -> None:
    for distance, expected in ((0.005, -1), (0.02, 0)):
        prediction = in_pixels((40.0 + distance, 50.0, 20.0, 20.0), strides=[8.0])
        assert assigned(ATSSAssigner(), prediction, objects([OBJECT])).target.tolist() == [[expected]]


def test_a_candidate_that_may_not_match_takes_no_place_among_the_nearest() -> None:
    prediction = in_pixels(OBJECT, (52.0, 50.0, 20.0, 20.0), strides=[8.0, 8.0])
    invalid = replace(prediction, may_match=torch.tensor([[False, True]]))
    assert assigned(ATSSAssigner(k=1), prediction, objects([OBJECT])).target.tolist() == [[0, -1]]
    assert assigned(ATSSAssigner(k=1), invalid, objects([OBJECT])).target.tolist() == [[-1, 0]]


def test_a_candidate_of_two_objects_answers_for_the_larger_overlap_and_of_equals_for_the_first() -> None:
    prediction = in_pixels(OBJECT, strides=[8.0])
    found = assigned(ATSSAssigner(), prediction, objects([(50.0, 50.0, 20.0, 30.0), OBJECT]))
    assert found.target.tolist() == [[1]]
    assert found.notes["contested"].all()
    assert assigned(ATSSAssigner(), prediction, objects([OBJECT, OBJECT])).target.tolist() == [[0]]


def test_a_grid_is_assigned_as_candidates_that_name_their_levels() -> None:
    prediction, seen = random_scene(0)
    levels = torch.cat((torch.zeros(48), torch.ones(12))).long()
    on_grid = replace(prediction, grid=((6, 8, 1), (3, 4, 1)), levels=levels)
    by_level = replace(prediction, levels=levels)
    rule = ATSSAssigner(k=4)
    assert torch.equal(assigned(rule, on_grid, seen).target, assigned(rule, by_level, seen).target)
    torch.testing.assert_close(rule.thresholds(on_grid, seen), rule.thresholds(by_level, seen))


def test_candidates_without_level_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ATSSAssigner needs Prediction.levels: "):
        assigned(ATSSAssigner(), in_pixels(OBJECT), objects([OBJECT]))


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ATSSAssigner(k=0)
