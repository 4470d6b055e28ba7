"""Two thresholds of IoU, and a best candidate for every object."""

from typing import Any

import pytest

from deta.assign import IGNORED, MaxIoUAssigner
from deta.testing import check_assigner
from tests.assign.scenes import assigned, in_pixels, objects

# IoU with the object 1, .45, .25, 0.
CANDIDATES = in_pixels((50, 50, 20, 20), (50, 50, 20, 9), (50, 50, 10, 10), (90, 90, 10, 10))
OBJECT = (50.0, 50.0, 20.0, 20.0)


@pytest.mark.parametrize("low_quality", ["own_column", "last_object", "none"])
def test_the_rule_does_what_every_rule_must(low_quality: str) -> None:
    check_assigner(MaxIoUAssigner(low_quality=low_quality))


def test_between_the_thresholds_a_candidate_is_ignored() -> None:
    found = assigned(MaxIoUAssigner(), CANDIDATES, objects([OBJECT]))
    assert found.target.tolist() == [[0, IGNORED, -1, -1]]
    found = assigned(MaxIoUAssigner(positive_from=0.45, background_below=0.25), CANDIDATES, objects([OBJECT]))
    assert found.target.tolist() == [[0, 0, IGNORED, -1]]
    found = assigned(MaxIoUAssigner(positive_from=0.5, background_below=0.5), CANDIDATES, objects([OBJECT]))
    assert found.target.tolist() == [[0, -1, -1, -1]]


def test_the_best_candidates_of_an_object_are_positive_below_the_threshold_and_all_that_tie() -> None:
    twins = in_pixels((50, 50, 20, 5), (50, 50, 20, 5), (50, 50, 20, 4))
    found = assigned(MaxIoUAssigner(), twins, objects([OBJECT]))
    assert found.target.tolist() == [[0, 0, -1]]
    assert found.notes["rescued"].tolist() == [[True, True, False]]
    found = assigned(MaxIoUAssigner(low_quality="none"), twins, objects([OBJECT]))
    assert found.target.tolist() == [[-1, -1, -1]]
    found = assigned(MaxIoUAssigner(low_quality_from=0.3), twins, objects([OBJECT]))
    assert found.target.tolist() == [[-1, -1, -1]]


def test_a_best_candidate_answers_for_the_object_of_its_column_or_for_the_last_whose_best_it_is() -> None:
    # The only candidate overlaps the first object more; it is the best of both.
    one, both = in_pixels((50, 50, 20, 20)), objects([(50.0, 50.0, 20.0, 18.0), (55.0, 50.0, 40.0, 40.0)])
    assert assigned(MaxIoUAssigner(), one, both).target.tolist() == [[0]]
    assert assigned(MaxIoUAssigner(low_quality="last_object"), one, both).target.tolist() == [[1]]


def test_an_object_without_overlap_takes_what_overlaps_nothing_unless_the_highest_must_be_above_0() -> None:
    seen = objects([OBJECT, (10.0, 10.0, 4.0, 4.0)])
    # Candidates 0 to 3 have IoU 0 with the second object: its highest.
    assert assigned(MaxIoUAssigner(), CANDIDATES, seen).target.tolist() == [[0, 0, 0, 0]]
    last = MaxIoUAssigner(low_quality="last_object")
    assert assigned(last, CANDIDATES, seen).target.tolist() == [[1, 1, 1, 1]]
    above = MaxIoUAssigner(low_quality="last_object", low_quality_from=0.01)
    assert assigned(above, CANDIDATES, seen).target.tolist() == [[0, IGNORED, -1, -1]]


def test_a_candidate_above_the_threshold_of_two_objects_is_contested() -> None:
    found = assigned(MaxIoUAssigner(), CANDIDATES, objects([OBJECT, OBJECT]))
    assert found.target.tolist() == [[0, IGNORED, -1, -1]]
    assert found.notes["contested"].tolist() == [[True, False, False, False]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positive_from": 1.1}, r"positive_from must be in \[0, 1\], got 1.1"),
        ({"background_below": 0.6}, r"background_below must be in \[0, 0.5\], got 0.6"),
        ({"low_quality": "all"}, "low_quality must be one of"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaxIoUAssigner(**arguments)
