"""Losses of the class logits."""

import math
from typing import Any

import pytest
import torch

from deta.losses import FocalLoss
from deta.structures import Matches, Prediction
from deta.testing import check_term
from tests.assign.scenes import objects

BOX = (0.5, 0.5, 0.2, 0.2)


@pytest.mark.parametrize("options", [{}, {"alpha": 1.0, "focusing": 1.0}, {"focusing": 0.0}])
def test_the_term_does_what_every_term_must(options: dict[str, Any]) -> None:
    check_term(FocalLoss(**options))


def test_every_class_of_every_candidate_counts_as_worked_out_by_hand() -> None:
    logit = math.log(3)  # a probability of 3/4
    boxes = torch.tensor([[BOX] * 3])
    prediction = Prediction(torch.full((1, 3, 2), logit), boxes, boxes)
    found = FocalLoss(alpha=0.25, focusing=2)(prediction, Matches(torch.tensor([[0, -1, -2]])), objects([BOX]))
    positive, negative = 0.25 * (1 / 4) ** 2 * math.log(4 / 3), 0.75 * (3 / 4) ** 2 * math.log(4)
    assert found.value.tolist() == pytest.approx([positive + 3 * negative], rel=1e-5)
    assert found.divisor is None


def test_the_class_of_what_has_no_object_may_be_the_last_one() -> None:
    logit = math.log(3)  # a probability of 3/4
    boxes = torch.tensor([[BOX] * 3])
    prediction = Prediction(torch.full((1, 3, 2), logit), boxes, boxes)
    term = FocalLoss(alpha=0.25, focusing=2, background=True)
    positive, negative = 0.25 * (1 / 4) ** 2 * math.log(4 / 3), 0.75 * (3 / 4) ** 2 * math.log(4)
    found = term(prediction, Matches(torch.tensor([[0, -1, -2]])), objects([BOX]))
    assert found.value.tolist() == pytest.approx([2 * (positive + negative)], rel=1e-5)
    check_term(term)


@pytest.mark.parametrize("options", [{"weight": -1}, {"alpha": 2}, {"focusing": -1}, {"focusing": 0.5}])
def test_an_argument_out_of_range_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        FocalLoss(**options)
