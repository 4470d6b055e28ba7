"""The best candidates of every object by IoU."""

from dataclasses import replace

import pytest
import torch

from deta.assign import Matches, Prediction, TopKIoUAssigner, scene
from deta.testing import check_assigner
from tests.assign.scenes import Box, assigned, candidates, objects, random_scene

FRAME = torch.full((1, 4), 100.0)


def anchors(*boxes: Box) -> Prediction:
    return replace(candidates(boxes), frame=FRAME)


def test_the_rule_does_what_every_rule_must() -> None:
    check_assigner(TopKIoUAssigner(k=3), without=["the_order_of_objects_does_not_matter"])


def test_every_object_has_its_best_candidates_and_shares_none() -> None:
    # IoU with the first object 1, .5, .25, 0; with the second 0, 0, 0, 1.
    prediction = anchors((0.2, 0.2, 0.2, 0.2), (0.2, 0.2, 0.2, 0.1), (0.2, 0.2, 0.1, 0.1), (0.7, 0.7, 0.2, 0.2))
    seen = objects([(0.2, 0.2, 0.2, 0.2), (0.7, 0.7, 0.2, 0.2)])
    assert assigned(TopKIoUAssigner(k=1), prediction, seen).target.tolist() == [[0, -1, -1, 1]]
    found = assigned(TopKIoUAssigner(k=3), prediction, seen)
    assert found.target[0, :2].tolist() == [0, 0]
    assert found.target[0, 3] == 1


def test_a_candidate_of_two_objects_serves_the_better_rank_and_of_equal_ranks_the_first_object() -> None:
    # The middle box is second best of the first object, best of the second.
    boxes = ((0.2, 0.5, 0.2, 0.2), (0.3, 0.5, 0.2, 0.2))
    found = assigned(TopKIoUAssigner(k=2), anchors(*boxes), objects([boxes[0], (0.32, 0.5, 0.2, 0.2)]))
    assert found.target.tolist() == [[0, 1]]
    assert found.notes["contested"].all()
    twins = assigned(TopKIoUAssigner(k=2), anchors(*boxes), objects([boxes[0], boxes[0]]))
    assert twins.target.tolist() == [[0, 0]]


def test_an_object_has_no_candidate_that_does_not_overlap_it() -> None:
    prediction = anchors((0.1, 0.1, 0.1, 0.1), (0.85, 0.8, 0.1, 0.1))
    found = assigned(TopKIoUAssigner(k=9), prediction, objects([(0.8, 0.8, 0.1, 0.1)]))
    assert found.target.tolist() == [[-1, 0]]


def test_objects_in_parts_are_assigned_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, seen = random_scene(0)
    at_once = assigned(TopKIoUAssigner(k=5), prediction, seen)
    monkeypatch.setattr(scene, "LARGEST_TABLE", 2 * prediction.logits.shape[0] * prediction.num_candidates)
    in_parts: Matches = assigned(TopKIoUAssigner(k=5), prediction, seen)
    assert torch.equal(in_parts.target, at_once.target)


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        TopKIoUAssigner(k=0)
