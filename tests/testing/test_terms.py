"""The harness of loss terms finds what is wrong with a term."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deta.losses import FocalLoss, L1Loss, Sum
from deta.ops.rows import take_rows
from deta.structures import IGNORED, Matches, Prediction, Targets
from deta.testing import check_term

Measure = Callable[[Prediction, Matches, Targets], Sum]


class Wrong:
    """A term made of a function."""

    weight = 1.0

    def __init__(self, measure: Measure) -> None:
        self.measure = measure

    def __call__(self, prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        return self.measure(prediction, matches, targets)


def good(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    """What the wrong ones differ from."""
    return L1Loss()(prediction, matches, targets)


def distance(prediction: Prediction, matches: Matches, targets: Targets) -> Tensor:
    """``[B, N, 4]`` of boxes and objects, float32."""
    boxes = prediction.boxes_of(take_rows(targets.labels, matches.target)).float()
    return boxes - take_rows(targets.boxes, matches.target)


def counts_padding(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    found = good(prediction, matches, targets)
    return replace(found, value=found.value * (1 + targets.boxes.sum((1, 2))))


def divides_by_padding(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    found = good(prediction, matches, targets)
    return replace(found, divisor=torch.full_like(found.value.detach(), targets.labels.shape[1]))


def has_no_gradient_without_objects(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    """The root of an empty sum has the slope infinity."""
    squares = torch.where(matches.is_positive(), distance(prediction, matches, targets).square().sum(-1), 0.0)
    return Sum(squares.sum(1).sqrt())


def divides_by_its_positives(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    return Sum(good(prediction, matches, targets).value / matches.num_pairs())


def sums_in_half_precision(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    boxes = prediction.boxes_of(take_rows(targets.labels, matches.target))
    offset = (boxes - take_rows(targets.boxes, matches.target).to(boxes)).abs().sum(-1)
    return Sum(torch.where(matches.is_positive(), offset, 0.0).sum(1).float())


def cannot_take_half_precision(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    boxes = prediction.boxes_of(take_rows(targets.labels, matches.target))
    products = boxes[:, :, None] @ take_rows(targets.boxes, matches.target)[..., None]
    return Sum(torch.where(matches.is_positive(), products[..., 0, 0], 0.0).sum(1).float())


def trains_the_ignored(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    counted = replace(matches, target=torch.where(matches.target == IGNORED, -1, matches.target))
    return FocalLoss()(prediction, counted, targets)


def trains_what_was_not_looked_for(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    return FocalLoss()(prediction, matches, targets.without_federated())


def divides_by_the_batch(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    found = good(prediction, matches, targets)
    return replace(found, value=found.value / matches.is_positive().sum().clamp(min=1))


def trains_nothing(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    return good(prediction.detach(), matches, targets)


def weighs_by_place(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    offset = distance(prediction, matches, targets).abs().sum(-1)
    return Sum(torch.where(matches.is_positive(), offset, 0.0).cumsum(1)[:, ::2].sum(1))


def weighs_by_number_of_the_object(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    offset = distance(prediction, matches, targets).abs().sum(-1) * (1 + matches.target)
    return Sum(torch.where(matches.is_positive(), offset, 0.0).sum(1))


def grows_by_itself(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    global _calls
    _calls += 1
    found = good(prediction, matches, targets)
    return replace(found, value=found.value * _calls)


def changes_its_input(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    matches.target.clamp_(min=-1)
    return good(prediction, matches, targets)


def sums_the_batch(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    return Sum(good(prediction, matches, targets).value.sum())


def may_divide_by_zero(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    return replace(good(prediction, matches, targets), floor=0.0)


def trains_its_divisor(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    found = good(prediction, matches, targets)
    return replace(found, divisor=found.value.exp())


def asks_the_device(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
    found = good(prediction, matches, targets)
    return (
        found
        if bool(matches.is_positive().any())
        else replace(found, value=0.0 * prediction.logits.float().sum((1, 2)))
    )


_calls = 0

FAULTS: dict[Measure, str] = {
    counts_padding: "padded objects do not matter",
    divides_by_padding: "padded objects do not matter",
    has_no_gradient_without_objects: "a sum is finite and so are its gradients.*: boxes",
    divides_by_its_positives: "a sum is finite and so are its gradients.*Sum.value",
    sums_the_batch: r"a sum is finite .*Sum.value must be \(3,\)",
    may_divide_by_zero: "a sum is finite .*the floor is 0.0",
    trains_its_divisor: "a sum is finite .*a divisor carries a gradient",
    trains_nothing: "positives are trained",
    grows_by_itself: "a sum depends on its input alone",
    changes_its_input: "a sum depends on its input alone.*has changed",
    trains_the_ignored: "ignored candidates count nothing",
    trains_what_was_not_looked_for: "classes that were not looked for are not trained",
    weighs_by_place: "the order of candidates does not matter",
    weighs_by_number_of_the_object: "the order of objects does not matter",
    divides_by_the_batch: "images do not matter to each other",
    sums_in_half_precision: "half precision is measured in float32",
    cannot_take_half_precision: "half precision is measured in float32",
    asks_the_device: "a compiled term is one graph",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_term_is_found_by_the_property_that_it_lacks(fault: Measure) -> None:
    with pytest.raises(AssertionError, match=f"(?s)Wrong fails .*{FAULTS[fault]}"):
        check_term(Wrong(fault))


def test_a_term_without_fault_passes() -> None:
    check_term(Wrong(good))


def test_what_a_term_does_not_promise_is_left_out_by_name() -> None:
    check_term(Wrong(trains_nothing), without=["positives_are_trained"])
    with pytest.raises(ValueError, match=r"got no_such_thing; known are .*positives_are_trained"):
        check_term(Wrong(good), without=["no_such_thing"])


def test_a_term_that_needs_an_optional_part_is_given_it_everywhere() -> None:
    def of_quality(prediction: Prediction, matches: Matches, targets: Targets) -> Sum:
        if prediction.quality is None:
            raise ValueError("this term needs a quality")
        wanted = torch.zeros_like(prediction.quality.float()) if matches.quality is None else matches.quality
        loss = (prediction.quality.float() - wanted).square()
        return Sum(torch.where(matches.is_positive(), loss, 0.0).sum(1))

    check_term(Wrong(of_quality), needs=["quality"])
    with pytest.raises(AssertionError, match="'nothing but logits and boxes': this term needs a quality"):
        check_term(Wrong(of_quality))
