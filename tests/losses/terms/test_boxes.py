"""Losses of the boxes."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from deta.losses import DeltaL1Loss, GIoULoss, IoULoss, L1Loss, Term
from deta.structures import ExtraPairs, Matches, Prediction
from deta.testing import check_term
from tests.assign.scenes import objects

BOX, OBJECT, OTHER = (0.5, 0.5, 0.2, 0.2), (0.6, 0.5, 0.2, 0.4), (0.5, 0.5, 0.2, 0.4)


@pytest.mark.parametrize("term", [L1Loss(), GIoULoss(), GIoULoss(eps=1e-6), IoULoss(), IoULoss(power=2.0)])
def test_the_term_does_what_every_term_must(term: Term) -> None:
    check_term(term)


# Of box and object: overlap 0.1 x 0.2, union 0.1, hull 0.3 x 0.4; of box and other: 0.04, 0.08 and 0.08.
@pytest.mark.parametrize(
    ("term", "first", "second"),
    [
        (L1Loss(), 0.3, 0.2),
        (GIoULoss(), 1 - (0.2 - 0.02 / 0.12), 0.5),
        (IoULoss(), 1 - 0.2, 0.5),
        (IoULoss(power=2.0), 1 - 0.2**2, 0.75),
    ],
)
def test_every_pair_counts_as_worked_out_by_hand(term: Term, first: float, second: float) -> None:
    boxes = torch.tensor([[BOX, (float("inf"),) * 4]])  # the second one is no pair
    prediction, targets = Prediction(torch.zeros(1, 2, 2), boxes, boxes), objects([OBJECT, OTHER])
    target, index = torch.tensor([[0, -1]]), torch.tensor([[0]])
    assert term(prediction, Matches(target), targets).value.tolist() == pytest.approx([first], rel=1e-5)
    both = Matches(target, extra=ExtraPairs(index, index + 1, torch.tensor([[True]])))
    assert term(prediction, both, targets).value.tolist() == pytest.approx([first + second], rel=1e-5)


@pytest.mark.parametrize(("eps", "loss"), [(0.0, 0.0), (1e-7, 1 - 10 / 11), (1e-6, 0.5)])
def test_eps_is_added_to_union_and_hull(eps: float, loss: float) -> None:
    box = (0.5, 0.5, 1e-3, 1e-3)  # an area of 1e-6, which is the union and the hull
    boxes = torch.tensor([[box]])
    prediction, matches = Prediction(torch.zeros(1, 1, 2), boxes, boxes), Matches(torch.tensor([[0]]))
    assert GIoULoss(eps=eps)(prediction, matches, objects([box])).value.tolist() == pytest.approx([loss], abs=1e-4)
    # Of boxes side by side, the hull has twice the area of each, and the union all of it.
    beside = objects([(0.5 + 1e-3, 0.5, 1e-3, 1e-3)])
    assert GIoULoss(eps=eps)(prediction, matches, beside).value.tolist() == pytest.approx([1.0], abs=1e-3)


@pytest.mark.parametrize("kind", [L1Loss, GIoULoss])
def test_a_negative_weight_is_refused(kind: type[L1Loss] | type[GIoULoss]) -> None:
    with pytest.raises(ValueError, match="weight"):
        kind(weight=-1)


def test_the_term_of_deltas_does_what_every_term_must() -> None:
    check_term(DeltaL1Loss(), needs=["code"])


def test_deltas_are_compared_in_sides_of_the_prior() -> None:
    priors = torch.tensor([[BOX, BOX]])
    code = torch.tensor([[[0.5, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    prediction = Prediction(torch.zeros(1, 2, 2), priors, priors, code=code)
    found = DeltaL1Loss(weight=2.0)(prediction, Matches(torch.tensor([[0, -1]])), objects([OBJECT]))
    assert found.value.tolist() == pytest.approx([math.log(2)], abs=1e-6)  # of the height alone


def test_deltas_need_a_detector_that_has_them() -> None:
    boxes = torch.tensor([[BOX]])
    with pytest.raises(ValueError, match="coded as four deltas"):
        DeltaL1Loss()(Prediction(torch.zeros(1, 1, 2), boxes, boxes), Matches(torch.tensor([[0]])), objects([OBJECT]))


def test_deltas_of_a_class_are_compared_in_the_units_of_the_codec_and_squared_where_they_are_small() -> None:
    priors = torch.tensor([[BOX]])
    code = torch.tensor([[[9.0] * 4 + [5.0, 0.0, 0.0, 0.0]]])  # those of class 1 are compared
    prediction = Prediction(torch.zeros(1, 1, 3), torch.zeros(1, 1, 2, 4), priors, code=code)
    targets = objects([OBJECT])
    targets = replace(targets, labels=torch.ones_like(targets.labels))
    term = DeltaL1Loss(factors=(10.0, 10.0, 5.0, 5.0), beta=20.0)
    found = term(prediction, Matches(torch.tensor([[0]])), targets)
    assert found.value.tolist() == pytest.approx([(5 * math.log(2)) ** 2 / 40], rel=1e-5)  # of the height alone


@pytest.mark.parametrize("options", [{"factors": (1.0, 1.0)}, {"beta": -1.0}])
def test_an_argument_of_deltas_out_of_range_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        DeltaL1Loss(**options)


def test_a_region_that_does_not_exist_gives_no_gradient_that_is_not_a_number() -> None:
    priors = torch.zeros(1, 2, 4)  # as of a place without a region, in an image without objects
    code = torch.zeros(1, 2, 4, requires_grad=True)
    prediction = Prediction(torch.zeros(1, 2, 2), priors, priors, exists=torch.zeros(1, 2, dtype=torch.bool), code=code)
    nothing = objects([OBJECT])
    nothing = replace(nothing, boxes=torch.zeros_like(nothing.boxes), is_object=torch.zeros_like(nothing.is_object))
    value = DeltaL1Loss(beta=1 / 9)(prediction, Matches(torch.full((1, 2), -2)), nothing).value.sum()
    (gradient,) = torch.autograd.grad(value, code)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("term", [L1Loss(), GIoULoss()])
def test_a_further_object_is_compared_with_the_box_for_its_own_class(term: Term) -> None:
    of_classes = torch.tensor([[[OBJECT, OTHER]]])  # [1, 1, 2, 4]: the box of a class is its object
    prediction = Prediction(torch.zeros(1, 1, 2), of_classes, torch.tensor([[BOX]]))
    index = torch.tensor([[0]])
    matches = Matches(torch.tensor([[0]]), extra=ExtraPairs(index, index + 1, torch.tensor([[True]])))
    assert term(prediction, matches, objects([OBJECT, OTHER])).value.tolist() == pytest.approx([0], abs=1e-6)
