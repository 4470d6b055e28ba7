"""The release's rule beyond the reference outputs."""

from typing import Any

import pytest

from deta.assign import ReleaseAssigner
from deta.testing import check_assigner
from tests.assign.scenes import assigned, candidates, objects, statistics

CENTRE = (0.5, 0.5, 0.2, 0.2)
BESIDE = (0.52, 0.5, 0.2, 0.2)  # IoU 0.818 with CENTRE


@pytest.mark.parametrize("options", [{}, {"tau": 0.3, "max_per_target": 9, "positive_fraction": None}])
def test_the_rule_does_what_every_rule_must_but_may_give_a_box_to_two_objects(options: dict[str, Any]) -> None:
    check_assigner(ReleaseAssigner(**options), without=["no_candidate_answers_for_two_objects"])


def test_every_box_has_one_object_where_all_samples_are_kept() -> None:
    check_assigner(ReleaseAssigner(tau=0.3, max_per_target=None, num_samples=8))


def test_a_box_can_be_given_to_two_objects() -> None:
    # The first object owns boxes 0 and 1, but box 2, which the second one owns, overlaps it more than box 1.
    scene = candidates([CENTRE, (0.46, 0.5, 0.2, 0.2), (0.515, 0.5, 0.2, 0.2)])
    targets = objects([CENTRE, BESIDE])
    matches = assigned(ReleaseAssigner(tau=0.6, max_per_target=4, positive_fraction=None), scene, targets)
    assert matches.pairs().tolist() == [[0, 0, 0], [0, 2, 0], [0, 2, 1]]
    assert statistics(matches, scene, targets).noted["contested"].sum() == 1


def test_class_of_a_shared_box_is_that_of_the_later_object() -> None:
    scene = candidates([CENTRE, BESIDE])
    matches = assigned(
        ReleaseAssigner(tau=0.9, max_per_target=2, positive_fraction=None), scene, objects([CENTRE, BESIDE])
    )
    assert matches.pairs().tolist() == [[0, 0, 0], [0, 1, 1]]
    many = assigned(
        ReleaseAssigner(tau=0.9, max_per_target=2, positive_fraction=None),
        candidates([CENTRE, CENTRE, BESIDE]),
        objects([CENTRE, BESIDE]),
    )
    assert many.target.tolist() == [[0, 0, 1]]


def test_fewer_boxes_than_n_work() -> None:
    matches = assigned(
        ReleaseAssigner(max_per_target=9, positive_fraction=None), candidates([CENTRE]), objects([CENTRE])
    )
    assert matches.target.tolist() == [[0]]


def test_object_without_overlap_makes_every_box_without_overlap_positive() -> None:
    scene = candidates([CENTRE] + [(0.1, 0.1, 0.05, 0.05)] * 5)
    matches = assigned(
        ReleaseAssigner(max_per_target=None, positive_fraction=None), scene, objects([CENTRE, (0.9, 0.9, 0.02, 0.02)])
    )
    assert (matches.target >= 0).all()


def test_sampling_limits_positives() -> None:
    scene = candidates([CENTRE] * 40)
    assigner = ReleaseAssigner(max_per_target=None, num_samples=16, positive_fraction=0.5)
    matches = assigned(assigner, scene, objects([CENTRE]))
    assert (matches.target >= 0).sum() == 8
    assert statistics(matches, scene, objects([CENTRE])).noted["cut"] == 1
