"""Points inside of an object, near its centre, on the level of its size."""

from dataclasses import replace

import pytest

from deta.assign import FCOSAssigner, Prediction
from deta.testing import check_assigner
from tests.assign.scenes import assigned, in_pixels, objects


def points(*places: tuple[float, float, float]) -> Prediction:
    """Of x, y and stride."""
    boxes = [(x, y, 8.0, 8.0) for x, y, _ in places]
    return in_pixels(*boxes, strides=[stride for _, _, stride in places])


def test_the_rule_does_what_every_rule_must() -> None:
    check_assigner(FCOSAssigner(), needs=["levels", "strides"])


def test_a_point_must_lie_strictly_inside() -> None:
    prediction = points((40.0, 50.0, 8.0), (40.5, 50.0, 8.0), (50.0, 60.0, 8.0))
    found = assigned(FCOSAssigner(radius=None), prediction, objects([(50.0, 50.0, 20.0, 20.0)]))
    assert found.target.tolist() == [[-1, 0, -1]]


def test_a_point_must_lie_strictly_nearer_to_the_centre_than_the_radius_along_both_axes() -> None:
    prediction = points((62.0, 50.0, 8.0), (61.9, 61.9, 8.0), (50.0, 38.0, 8.0))
    found = assigned(FCOSAssigner(radius=1.5), prediction, objects([(50.0, 50.0, 60.0, 60.0)]))
    assert found.target.tolist() == [[-1, 0, -1]]


def test_the_farthest_side_must_lie_strictly_in_the_reach_of_the_level() -> None:
    # Of three levels 8, 16, 32 the middle one reaches from 64 to 128 pixels, the others below 64 and above 128.
    prediction = points((500.0, 500.0, 8.0), (500.0, 500.0, 16.0), (500.0, 500.0, 32.0))
    for side, expected in (
        (20.0, [0, -1, -1]),
        (128.0, [-1, -1, -1]),
        (130.0, [-1, 0, -1]),
        (256.0, [-1, -1, -1]),
        (260.0, [-1, -1, 0]),
        (900.0, [-1, -1, 0]),
    ):
        found = assigned(FCOSAssigner(), prediction, objects([(500.0, 500.0, side, side)]))
        assert found.target.tolist() == [expected]


def test_the_smallest_object_has_a_point_and_areas_that_round_alike_are_equal() -> None:
    prediction = points((500.0, 500.0, 8.0))
    seen = objects([(500.0, 500.0, 40.0, 26.0), (500.0, 500.0, 40.0, 25.9)])  # areas 1040 and 1036
    found = assigned(FCOSAssigner(), prediction, seen)
    assert found.target.tolist() == [[1]]
    assert found.notes["contested"].all()
    assert assigned(FCOSAssigner(rounds_areas=True), prediction, seen).target.tolist() == [[0]]


def test_candidates_without_level_and_stride_are_refused_in_one_message() -> None:
    prediction = replace(points((5.0, 5.0, 8.0)), levels=None, strides=None)
    with pytest.raises(ValueError, match=r"FCOSAssigner needs Prediction.levels and Prediction.strides: .* learned"):
        assigned(FCOSAssigner(), prediction, objects([(5.0, 5.0, 8.0, 8.0)]))


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"reach_to must be at least 4.0, got 2.0"):
        FCOSAssigner(reach_to=2.0)
