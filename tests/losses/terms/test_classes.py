"""Losses of the class logits."""

import math

import pytest
import torch

from deta.losses import FocalLoss
from deta.structures import Matches, Prediction
from deta.testing import check_term
from tests.assign.scenes import objects

BOX = (0.5, 0.5, 0.2, 0.2)


@pytest.mark.parametrize("options", [{}, {"alpha": 1.0, "focusing": 1.0}, {"focusing": 0.0}])
def test_the_term_does_what_every_term_must(options: dict[str, float]) -> None:
    check_term(FocalLoss(**options))


def test_every_class_of_every_candidate_counts_as_worked_out_by_hand() -> None:
    logit = math.log(3)  # a probability of 3/4
    boxes = torch.tensor([[BOX] * 3])
    prediction = Prediction(torch.full((1, 3, 2), logit), boxes, boxes)
    found = FocalLoss(alpha=0.25, focusing=2)(prediction, Matches(torch.tensor([[0, -1, -2]])), objects([BOX]))
    positive, negative = 0.25 * (1 / 4) ** 2 * math.log(4 / 3), 0.75 * (3 / 4) ** 2 * math.log(4)
    assert found.value.tolist() == pytest.approx([positive + 3 * negative], rel=1e-5)
    assert found.divisor is None


@pytest.mark.parametrize("options", [{"weight": -1}, {"alpha": 2}, {"focusing": -1}, {"focusing": 0.5}])
def test_an_argument_out_of_range_is_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        FocalLoss(**options)
