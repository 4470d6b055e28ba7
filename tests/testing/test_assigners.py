"""The harness of assignment rules finds what is wrong with a rule."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from deta.assign import (
    Assigner,
    Draw,
    HungarianAssigner,
    IoUAssigner,
    Matches,
    Prediction,
    Problem,
    ReleaseAssigner,
    Targets,
    assign,
    background,
    ignore_covered,
    prior_iou,
)
from deta.ops.iou import pairwise_iou
from deta.structures import BACKGROUND, IGNORED, ExtraPairs
from deta.testing import check_assigner


class Wrong:
    """A rule made of a function."""

    def __init__(self, rule: Callable[[Prediction, Targets, Draw], Matches | Problem]) -> None:
        self.rule = rule

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches | Problem:
        return self.rule(prediction, targets, draw)


def good(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    """What the wrong ones differ from."""
    return IoUAssigner(tau=0.3, gamma=None)(prediction, targets, draw)


def reads_padding(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    """Padding wins a candidate that it fits best, which is background then."""
    if not targets.is_object.shape[1]:
        return Matches(background(prediction))
    real = targets.is_object.any(1, keepdim=True)
    unmasked = replace(targets, is_object=torch.ones_like(targets.is_object) & real)
    target = good(prediction, unmasked, draw).target
    is_real = targets.is_object.gather(1, target.clamp(min=0)) & (target >= 0)
    return Matches(torch.where(is_real, target, BACKGROUND))


def answers_for_padding(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    return good(prediction, replace(targets, is_object=torch.ones_like(targets.is_object)), draw)


def matches_what_may_not(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    return good(replace(prediction, may_match=None), targets, draw)


def matches_what_is_not_there(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    return good(replace(prediction, exists=None), targets, draw)


def prefers_the_first(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    """Of the positives of an image only the first half in order."""
    target = good(prediction, targets, draw).target
    rank = (target >= 0).long().cumsum(1)
    return Matches(torch.where(rank <= 3, target, BACKGROUND))


def prefers_the_first_object(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    if 0 in (targets.is_object.shape[1], prediction.num_candidates):
        return Matches(background(prediction))
    overlaps = prior_iou(prediction, targets) > 0.05
    return Matches(torch.where(overlaps.any(1), overlaps.byte().argmax(1), BACKGROUND))


def looks_at_the_whole_batch(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    """The threshold is the mean overlap of all images."""
    if 0 in (targets.is_object.shape[1], prediction.num_candidates):
        return Matches(background(prediction))
    best, owner = prior_iou(prediction, targets).max(1)
    return Matches(torch.where(best > best.clamp(min=0).mean(), owner, BACKGROUND))


def looks_at_what_cannot_match(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    """A candidate that may not match takes the object away from the others."""
    if 0 in (targets.is_object.shape[1], prediction.num_candidates):
        return Matches(background(prediction))
    everywhere = prior_iou(replace(prediction, may_match=None, exists=None), targets)
    is_best = (everywhere == everywhere.amax(2, keepdim=True)) & (everywhere > 0)
    return Matches(torch.where(is_best.any(1) & prediction.can_match(), is_best.byte().argmax(1), BACKGROUND))


def draws_by_itself(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    target = good(prediction, targets, draw).target
    return Matches(torch.where(torch.rand(target.shape) > 0.5, target, BACKGROUND))


def changes_its_input(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    targets.boxes.add_(1e-6)
    return good(prediction, targets, draw)


def changes_its_draw(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    draw.key.add_(1)
    return good(prediction, targets, draw)


def never_answers(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    return Matches(background(prediction))


def solves_by_itself(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    return assign(HungarianAssigner(), prediction, targets, draw)


def gives_a_box_twice(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    return ReleaseAssigner()(prediction, targets, draw)


def names_a_pair_twice(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    matches = good(prediction, targets, draw)
    query = torch.zeros_like(matches.target[:, :1]).expand(-1, min(1, matches.target.shape[1]))
    target = matches.target[:, :1]
    return replace(matches, extra=ExtraPairs(query, target.clamp(min=0), target >= 0))


def cannot_do_without_objects(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    best, owner = prior_iou(prediction, targets).max(1)
    return Matches(torch.where(best > 0.3, owner, BACKGROUND))


def needs_several_candidates(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    prior_iou(prediction, targets).topk(9, dim=2)
    return good(prediction, targets, draw)


def decides_in_half_precision(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    if 0 in (targets.is_object.shape[1], prediction.num_candidates):
        return Matches(background(prediction))
    objects = targets.boxes.to(prediction.priors)
    distance = (objects[:, :, None, :2] - prediction.priors[:, None, :, :2]).abs().sum(-1)  # [B, T, N]
    is_pair = targets.is_object[:, :, None] & prediction.can_match()[:, None]
    best, owner = distance.masked_fill(~is_pair, 9.0).min(1)
    return Matches(torch.where(best < 0.1, owner, BACKGROUND))


def asks_the_device(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    matches = good(prediction, targets, draw)
    return matches if matches.is_positive().sum().item() else Matches(background(prediction), notes=matches.notes)


def has_a_quality_beyond_one(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    matches = good(prediction, targets, draw)
    return replace(matches, quality=2.0 * (matches.target >= 0))


def ignores_images_without_objects(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    matches = good(prediction, targets, draw)
    is_empty = ~targets.is_object.any(1, keepdim=True)
    return replace(matches, target=torch.where(is_empty, IGNORED, matches.target))


def notes_by_place(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    matches = good(prediction, targets, draw)
    is_even = torch.arange(matches.target.shape[1]) % 2 == 0
    return replace(matches, notes={"even": is_even.expand_as(matches.target).clone()})


def takes_costs_of_padding(prediction: Prediction, targets: Targets, draw: Draw) -> Problem:
    """The solver is told that padding is objects."""
    cost = -pairwise_iou(prediction.priors, targets.boxes)
    return Problem(cost.masked_fill(~prediction.can_match()[..., None], 1e6), torch.ones_like(targets.is_object))


FAULTS: dict[Callable[[Prediction, Targets, Draw], Matches | Problem], str] = {
    reads_padding: "padded objects do not matter",
    answers_for_padding: "an answer names real objects .* answers for padding",
    takes_costs_of_padding: "an answer names real objects",
    matches_what_may_not: "an answer names real objects .* cannot match",
    matches_what_is_not_there: "an answer names real objects .* does not exist",
    names_a_pair_twice: "an answer names real objects .* twice",
    cannot_do_without_objects: "an answer names real objects .* with 'no room for objects'",
    needs_several_candidates: "an answer names real objects .* with 'more objects than candidates'",
    has_a_quality_beyond_one: "Matches.quality leaves 0..1",
    ignores_images_without_objects: "an image without objects is all background",
    gives_a_box_twice: "no candidate answers for two objects",
    prefers_the_first: "the order of candidates does not matter",
    notes_by_place: "the order of candidates does not matter.*'even'",
    prefers_the_first_object: "the order of objects does not matter",
    looks_at_the_whole_batch: "images do not matter to each other",
    looks_at_what_cannot_match: "candidates that cannot match do not matter",
    draws_by_itself: "an answer depends on input and draw alone",
    changes_its_input: "an answer depends on input and draw alone.*has changed",
    changes_its_draw: r"an answer depends on input and draw alone.*draw\.key, which the part has changed",
    never_answers: "objects have candidates",
    solves_by_itself: "costs are left to be solved with all others.* return the Problem",
    decides_in_half_precision: "half precision is assigned as float32",
    asks_the_device: "a compiled rule is one graph",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_rule_is_found_by_the_property_that_it_lacks(
    fault: Callable[[Prediction, Targets, Draw], Matches | Problem],
) -> None:
    with pytest.raises(AssertionError, match=f"(?s)Wrong fails .*{FAULTS[fault]}"):
        check_assigner(Wrong(fault))


def test_a_rule_without_fault_passes() -> None:
    check_assigner(Wrong(good))


def test_a_rule_may_ignore_crowds_by_itself_and_draw_along_dimensions_of_its_own() -> None:
    def rule(prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
        matches = ignore_covered(good(prediction, targets, draw), prediction, targets, 0.5)
        chances = draw.uniform("chances", (*matches.target.shape, 8), matches.target.device)
        is_kept = chances.cumsum(-1)[..., -1] > 3  # an order of its own
        return replace(matches, target=torch.where(is_kept | (matches.target < 0), matches.target, BACKGROUND))

    check_assigner(Wrong(rule))


def test_what_a_rule_does_not_promise_is_left_out_by_name() -> None:
    name = "no_candidate_answers_for_two_objects"
    check_assigner(Wrong(gives_a_box_twice), without=[name])
    with pytest.raises(ValueError, match=f"got no_such_thing; known are .*{name}"):
        check_assigner(Wrong(good), without=["no_such_thing"])


def test_a_rule_that_needs_an_optional_part_is_given_it_everywhere() -> None:
    class ByLevel:
        def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
            if prediction.levels is None:
                raise ValueError("this rule needs levels")
            return good(prediction, targets, draw)

    rule: Assigner = ByLevel()
    check_assigner(rule, needs=["levels"])
    with pytest.raises(AssertionError, match="'nothing but logits and boxes': this rule needs levels"):
        check_assigner(rule)
