"""Candidates near an object that are cheapest for it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from deta.assign import Prediction, SimOTAAssigner
from deta.structures import QualityScore
from deta.testing import check_assigner
from tests.assign.scenes import assigned, in_pixels, objects

OBJECT = (50.0, 50.0, 20.0, 20.0)
MMDET: dict[str, Any] = {"radius": 2.5, "or_inside": True, "outside_cost": 1e5}


def points(*places: tuple[float, float], boxes: Tensor | None = None, logits: Tensor | None = None) -> Prediction:
    """Of stride 8, which predict the object unless told otherwise."""
    priors = torch.tensor([[[x, y, 0.0, 0.0] for x, y in places]])
    predicted = torch.tensor(OBJECT).expand_as(priors) if boxes is None else boxes
    parts = {"boxes": predicted} if logits is None else {"boxes": predicted, "logits": logits}
    return in_pixels(*[(x, y, 0.0, 0.0) for x, y in places], strides=[8.0] * len(places), **parts)


@pytest.mark.parametrize("arguments", [{}, MMDET])
def test_the_rule_does_what_every_rule_must(arguments: dict[str, Any]) -> None:
    check_assigner(SimOTAAssigner(k=3, **arguments), needs=["strides"])


def test_with_a_quality_the_rule_does_what_every_rule_must() -> None:
    check_assigner(SimOTAAssigner(k=3, score=QualityScore(root=True)), needs=["strides", "quality"])


def test_a_point_is_a_candidate_strictly_within_the_radius_of_a_centre() -> None:
    prediction = points((61.9, 50.0), (62.0, 50.0), (55.0, 61.9))
    assert assigned(SimOTAAssigner(), prediction, objects([OBJECT])).target.tolist() == [[0, -1, 0]]


def test_a_point_inside_is_a_candidate_by_choice_alone() -> None:
    large = (50.0, 50.0, 90.0, 90.0)
    prediction = points((50.0, 50.0), (80.0, 80.0), (97.0, 50.0), boxes=torch.tensor([[large] * 3]))
    assert assigned(SimOTAAssigner(), prediction, objects([large])).target.tolist() == [[0, -1, -1]]
    assert assigned(SimOTAAssigner(**MMDET), prediction, objects([large])).target.tolist() == [[0, 0, -1]]


def test_an_object_has_as_many_as_the_sum_of_its_highest_overlaps_and_at_least_one() -> None:
    boxes = torch.tensor([[OBJECT, (50.0, 50.0, 20.0, 16.0), (50.0, 50.0, 20.0, 10.0), (50.0, 50.0, 10.0, 10.0)]])
    places = ((50.0, 50.0), (51.0, 50.0), (52.0, 50.0), (53.0, 50.0))  # IoU 1, .8, .5, .25
    prediction = points(*places, boxes=boxes)
    assert assigned(SimOTAAssigner(), prediction, objects([OBJECT])).target.tolist() == [[0, 0, -1, -1]]
    assert assigned(SimOTAAssigner(k=2), prediction, objects([OBJECT])).target.tolist() == [[0, -1, -1, -1]]
    nowhere = points(*places, boxes=torch.full((1, 4, 4), 5.0))
    assert (assigned(SimOTAAssigner(), nowhere, objects([OBJECT])).target == 0).sum() == 1


def test_a_point_of_two_objects_answers_for_the_cheapest_of_all_also_one_that_did_not_choose_it() -> None:
    # Without overlaps every object has one point. The cost is that of the point less the logit of the class: the first
    # two objects choose point 0 for 3.5 before 7.1, the third point 1 for .1 before 1.5.
    logits = torch.full((1, 2, 8), -20.0)
    logits[0, :, :3] = torch.tensor([[0.0, 0.0, 2.0], [-3.0, -3.0, 4.0]])
    prediction = points((50.0, 50.0), (51.0, 50.0), boxes=torch.full((1, 2, 4), 5.0), logits=logits)
    found = assigned(SimOTAAssigner(), prediction, objects([OBJECT, OBJECT, OBJECT]))
    assert found.target.tolist() == [[2, 2]]
    assert found.notes["contested"].tolist() == [[True, False]]


@pytest.mark.parametrize(("arguments", "penalty"), [({}, 1e6), (MMDET, 1e5)])
def test_a_candidate_of_another_object_costs_the_penalty_more(arguments: dict[str, Any], penalty: float) -> None:
    other = (200.0, 200.0, 20.0, 20.0)
    rule, seen = SimOTAAssigner(**arguments), objects([OBJECT, other])
    cost = rule.costs(points((50.0, 50.0), (200.0, 200.0), (300.0, 300.0)), seen)[0]  # [T, N]
    assert (cost[:, :2].diagonal() < 100).all()
    assert (cost[:, :2].flip(1).diagonal() - penalty).abs().max() < 100
    assert cost[:, 2].isinf().all()


def test_an_image_without_a_candidate_has_no_positive() -> None:
    assert assigned(SimOTAAssigner(), points((90.0, 90.0)), objects([OBJECT])).target.tolist() == [[-1]]


def test_the_quality_of_a_box_counts_in_the_score() -> None:
    logits = torch.full((1, 2, 8), -20.0)
    logits[..., 0] = 2.0
    prediction = points((50.0, 50.0), (51.0, 50.0), logits=logits)
    prediction = replace(prediction, quality=torch.tensor([[-4.0, 4.0]]))
    rule = SimOTAAssigner(k=1, score=QualityScore(root=True))
    assert assigned(rule, prediction, objects([OBJECT])).target.tolist() == [[-1, 0]]
    with pytest.raises(ValueError, match=r"QualityScore needs Prediction\.quality"):
        assigned(rule, replace(prediction, quality=None), objects([OBJECT]))


def test_candidates_without_stride_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SimOTAAssigner needs Prediction.strides: "):
        assigned(SimOTAAssigner(), in_pixels(OBJECT), objects([OBJECT]))


def test_an_argument_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        SimOTAAssigner(k=0)
