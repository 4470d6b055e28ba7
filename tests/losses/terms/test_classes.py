"""Losses of the class logits."""

import math
from typing import Any

import pytest
import torch

from deta.losses import CrossEntropy, FocalLoss, FocusedCrossEntropy
from deta.structures import Matches, Prediction
from deta.testing import check_term
from deta.testing.scenes import federated
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
    check_term(term, has_background=True)


@pytest.mark.parametrize("options", [{"weight": -1}, {"alpha": 2}, {"focusing": -1}, {"focusing": 0.5}])
def test_an_argument_out_of_range_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        FocalLoss(**options)


@pytest.mark.parametrize("options", [{}, {"background_weight": 1.0, "is_global": True}, {"background_weight": 0.0}])
def test_cross_entropy_does_what_every_term_must(options: dict[str, Any]) -> None:
    check_term(CrossEntropy(**options), takes_federated=False)


def test_cross_entropy_is_a_mean_by_weights_as_worked_out_by_hand() -> None:
    boxes = torch.tensor([[BOX] * 4])
    logits = torch.tensor([math.log(3), 0.0, 0.0]).expand(1, 4, 3)  # probabilities 3/5, 1/5 and 1/5 of no object
    found = CrossEntropy(background_weight=0.25)(
        Prediction(logits, boxes, boxes), Matches(torch.tensor([[0, -1, -2, -1]])), objects([BOX])
    )
    assert found.value.tolist() == pytest.approx([math.log(5 / 3) + 2 * 0.25 * math.log(5)], rel=1e-5)
    assert found.divisor is not None
    assert found.divisor.tolist() == [1.5]
    assert not found.is_global


def test_cross_entropy_is_refused_where_classes_were_not_looked_for() -> None:
    scene = federated(objects([BOX]))
    boxes = torch.tensor([[BOX]])
    with pytest.raises(ValueError, match=r"federated=false, or use deta\.losses\.FocalLoss"):
        CrossEntropy()(Prediction(torch.zeros(1, 1, 9), boxes, boxes), Matches(torch.tensor([[0]])), scene)


def test_a_negative_weight_of_the_background_is_named() -> None:
    with pytest.raises(ValueError, match="background_weight must be at least 0"):
        CrossEntropy(background_weight=-1)


def test_without_alpha_and_exponent_the_focal_loss_is_cross_entropy() -> None:
    boxes, logits = torch.tensor([[BOX] * 2]), torch.tensor([[[2.0], [-1.0]]])
    found = FocalLoss(alpha=None, focusing=0)(
        Prediction(logits, boxes, boxes), Matches(torch.tensor([[0, -1]])), objects([BOX])
    )
    assert found.value.tolist() == pytest.approx([math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))], rel=1e-5)


def test_focused_cross_entropy_does_what_every_term_must() -> None:
    # Whether anything counts is a matter of the whole batch.
    check_term(FocusedCrossEntropy(), takes_federated=False, without=["images_do_not_matter_to_each_other"])


def test_background_counts_less_the_surer_it_is_and_nothing_without_any_object() -> None:
    boxes = torch.tensor([[BOX] * 3])
    logits = torch.tensor([math.log(3), 0.0, 0.0]).expand(1, 3, 3)  # probabilities 3/5, 1/5 and 1/5 of no object
    prediction, term = Prediction(logits, boxes, boxes), FocusedCrossEntropy(background_weight=0.1)
    found = term(prediction, Matches(torch.tensor([[0, -1, -2]])), objects([BOX]))
    assert found.value.tolist() == pytest.approx([-math.log(0.6) - 0.1 * 2 * 0.8**2 * math.log(0.2)], rel=1e-5)
    assert found.divisor is not None
    assert found.divisor.tolist() == pytest.approx([1.1])
    none = term(prediction, Matches(torch.tensor([[-1, -1, -2]])), objects([BOX]))
    assert none.value.tolist() == [0]
