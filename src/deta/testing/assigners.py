"""What every assignment rule must do, on any input."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from deta.assign import Assigner, Draw, Matches, Problem, ask, assign
from deta.ops.rows import take_rows
from deta.structures import BACKGROUND, IGNORED
from deta.testing.harness import check, name_of, one_graph, require, require_equal, require_tensor, require_unchanged
from deta.testing.scenes import (
    Scene,
    WitnessedDraw,
    in_order_of_candidates,
    in_order_of_objects,
    not_finite,
    on_one_grid,
    ordinary,
    permutation,
    scene,
    scenes,
    with_other_padding,
)


def check_assigner(assigner: Assigner, *, needs: Sequence[str] = (), without: Collection[str] = ()) -> None:
    """Check a rule on ordinary and on hostile input.

    Args:
        assigner: The rule.
        needs: Optional parts of ``Prediction`` without which it refuses, such as ``strides``; with ``grid`` candidates
            are the cells of one.
        without: Names of properties (functions of ``deta.testing.assigners``) that it does not promise, such as
            ``no_candidate_answers_for_two_objects``. What is drawn is put in another order along with candidates or
            objects wherever it is as long as ``deta.testing.scenes.NUM_CANDIDATES`` or ``ROOM``.

    Raises:
        AssertionError: A property does not hold; the message names it and the input.
        ValueError: A name in ``without`` is none of a property.
    """
    every, usual = scenes(needs), ordinary()
    crowded, empty = scene("more objects than candidates", num_candidates=5), scene("no object", counts=(0, 0, 0))
    some = [usual, crowded, empty]
    properties: dict[Callable[[Assigner, Scene], None], list[Scene]] = {
        an_answer_names_real_objects_and_candidates_that_can_match: [*every, not_finite()],
        an_image_without_objects_is_all_background: every,
        objects_have_candidates: [scene("many candidates", num_candidates=500)],
        costs_are_left_to_be_solved_with_all_others: [usual],
        no_candidate_answers_for_two_objects: every,
        an_answer_depends_on_input_and_draw_alone: some,
        padded_objects_do_not_matter: some,
        candidates_that_cannot_match_do_not_matter: [usual],
        the_order_of_candidates_does_not_matter: [usual],
        the_order_of_objects_does_not_matter: [usual],
        images_do_not_matter_to_each_other: [usual],
        half_precision_is_assigned_as_float32: [scene("many candidates", num_candidates=500)],
        a_compiled_rule_is_one_graph_and_answers_alike: [usual, empty],
        boxes_in_pixels_are_assigned_alike: [usual, scene("many candidates", num_candidates=500)],
        a_rule_of_least_cost_says_that_it_is_one_to_one: [usual],
    }
    if "grid" in needs:
        properties = {is_so: [on_one_grid(each) for each in cases] for is_so, cases in properties.items()}
    check(assigner, properties, name=name_of(assigner), without=without)


def an_answer_names_real_objects_and_candidates_that_can_match(assigner: Assigner, scene: Scene) -> None:
    """Every pair is of a real object and a candidate that can match, once; all parts have their shape and range."""
    matches, targets = _answer(assigner, scene), scene.targets
    target, can_match = matches.target, scene.prediction.can_match()
    require(bool((target >= IGNORED).all()), f"a target is {target.min() if target.numel() else None}")
    pairs = [(target, target >= 0, can_match)]
    if matches.extra is not None:
        extra = matches.extra
        pairs.append((extra.target, extra.is_pair, take_rows(can_match, extra.query)))
        known = (extra.query >= 0) & (extra.query < can_match.shape[1]) & (extra.target >= 0)
        require(bool((known | ~extra.is_pair).all()), "an extra pair has an index out of range")
    for owner, is_pair, may in pairs:
        require(bool((owner < targets.is_object.shape[1])[is_pair].all()), "a target is no place of an object")
        is_real = take_rows(targets.is_object, owner) if targets.is_object.shape[1] else torch.zeros_like(is_pair)
        require(bool(is_real[is_pair].all()), "a candidate answers for padding")
        require(bool(may[is_pair].all()), "a candidate is positive that cannot match or does not exist")
    require(len(matches.pairs()) == int(matches.num_pairs().sum()), "a pair is named twice")
    shape = tuple(scene.prediction.logits.shape)
    for name, values, wanted in (
        ("quality", matches.quality, shape[:2]),
        ("class_target", matches.class_target, shape),
    ):
        if values is not None:
            require_tensor(values, f"Matches.{name}", wanted, torch.float32)
            require(bool(((values >= 0) & (values <= 1)).all()), f"Matches.{name} leaves 0..1")
            require(not values.requires_grad, f"Matches.{name} carries a gradient")


def an_image_without_objects_is_all_background(assigner: Assigner, scene: Scene) -> None:
    """Where nothing is to be found and nothing to be ignored, every candidate is trained as background."""
    targets = replace(scene.targets, is_ignore=torch.zeros_like(scene.targets.is_ignore))
    target = _answer(assigner, replace(scene, targets=targets)).target[~targets.is_object.any(1)]
    require(bool((target == BACKGROUND).all()), "a candidate of an image without objects is no background")


def objects_have_candidates(assigner: Assigner, scene: Scene) -> None:
    """Of many candidates near objects, some answer for one."""
    require(bool(_answer(assigner, scene).num_pairs().any()), "no candidate answers for any object")


def costs_are_left_to_be_solved_with_all_others(assigner: Assigner, scene: Scene) -> None:
    """A rule that solves by itself, or asks another one to, makes the device wait once more in every step."""
    with _Operators() as called:
        ask(assigner, scene.prediction, scene.targets, Draw.of(0))
    require("deta::solve_assignments" not in called.names, "it solves by itself: return the Problem, see Problem.then")


def no_candidate_answers_for_two_objects(assigner: Assigner, scene: Scene) -> None:
    """There is no pair beyond those of ``Matches.target``."""
    extra = _answer(assigner, scene).extra
    require(extra is None or not extra.is_pair.any(), "a candidate is given to two objects")


def an_answer_depends_on_input_and_draw_alone(assigner: Assigner, scene: Scene) -> None:
    """Asked again, after other input, the rule answers alike, and it has left its input as it was."""
    kept, again = scene.map(Tensor.clone), scene.map(Tensor.clone)
    draw = Draw.of(0)
    first = _answer(assigner, scene, draw)
    require_unchanged(scene.prediction, kept.prediction, "prediction")
    require_unchanged(scene.targets, kept.targets, "targets")
    require_equal(draw.key, Draw.of(0).key, "draw.key, which the part has changed")
    _answer(assigner, scene.image(0))
    _require_alike(_answer(assigner, again), first, "asked again")


def padded_objects_do_not_matter(assigner: Assigner, scene: Scene) -> None:
    """More padding, with boxes in it that fit candidates exactly, leaves the answer as it is."""
    padded = replace(scene, targets=with_other_padding(scene.targets, scene.prediction.priors))
    _require_alike(_answer(assigner, padded), _answer(assigner, scene), "with other padding")


def candidates_that_cannot_match_do_not_matter(assigner: Assigner, scene: Scene) -> None:
    """What may not match or does not exist may lie on an object without taking it from another candidate."""
    prediction, targets = scene.prediction, scene.targets
    can_match = prediction.can_match()
    boxes = targets.boxes[:, torch.arange(prediction.num_candidates) % targets.boxes.shape[1]]
    moved: dict[str, Any] = {
        name: torch.where(can_match[..., None], getattr(prediction, name), boxes) for name in ("boxes", "priors")
    }
    moved["logits"] = torch.where(can_match[..., None], prediction.logits, 9.0)
    draw = WitnessedDraw.of(0)
    expected = _answer(assigner, scene, draw)
    found = _answer(assigner, replace(scene, prediction=replace(prediction, **moved)))
    require_equal(found.target[can_match], expected.target[can_match], "the targets of the others")


def the_order_of_candidates_does_not_matter(assigner: Assigner, scene: Scene) -> None:
    """Candidates in another order, and what is drawn for them, give the same answer in that order."""
    order = permutation(scene.prediction.num_candidates)
    draw = WitnessedDraw.of(0)
    expected = _answer(assigner, scene, draw)
    mixed = replace(scene, prediction=in_order_of_candidates(scene.prediction, order))
    found = _answer(assigner, mixed, draw.rearranged(lambda values: _reordered(values, order)))
    require_equal(found.target, expected.target[:, order], "the targets of candidates in another order")
    require_equal(_pairs(found, candidates=order), _pairs(expected), "the pairs of candidates in another order")
    for name in ("quality", "class_target"):
        value = getattr(expected, name)
        require_equal(getattr(found, name), None if value is None else value[:, order], f"Matches.{name}")
    for name, note in expected.notes.items():
        require_equal(found.notes.get(name), note[:, order] if note.dim() == 2 else note, f"the note {name!r}")


def the_order_of_objects_does_not_matter(assigner: Assigner, scene: Scene) -> None:
    """Objects in another order, with padding between them, keep their candidates."""
    order = permutation(scene.targets.is_object.shape[1])
    place = order.argsort()  # of every object in the other order
    draw = WitnessedDraw.of(0)
    expected = _answer(assigner, scene, draw)
    given = scene.prediction.given
    prediction = scene.prediction
    if given is not None:
        prediction = replace(prediction, given=torch.where(given >= 0, place[given.clamp(min=0)], given))
    mixed = replace(scene, prediction=prediction, targets=in_order_of_objects(scene.targets, order))
    found = _answer(assigner, mixed, draw.rearranged(lambda values: _reordered(values, order)))
    require_equal(_pairs(found, objects=order), _pairs(expected), "the pairs with objects in another order")
    require_equal(found.target.clamp(max=0), expected.target.clamp(max=0), "what is positive or ignored")
    for name, note in expected.notes.items():
        require_equal(found.notes.get(name), note, f"the note {name!r}")


def images_do_not_matter_to_each_other(assigner: Assigner, scene: Scene) -> None:
    """An image alone, with what was drawn for it, is assigned as in a batch."""
    draw = WitnessedDraw.of(0)
    together, num_images = _answer(assigner, scene, draw), len(scene.targets.boxes)
    for index in range(num_images):
        only = itemgetter(slice(index, index + 1))
        alone = _answer(assigner, scene.image(index), draw.rearranged(partial(_of_image, index, num_images)))
        _require_alike(alone, together.map(only), f"image {index} alone")


def boxes_in_pixels_are_assigned_alike(assigner: Assigner, scene: Scene) -> None:
    """Boxes relative to the image and the same in pixels, as dense and region detectors have them, are one input."""
    pixels = replace(scene, prediction=scene.prediction.in_pixels(), targets=scene.targets.in_pixels())
    found, expected = _answer(assigner, pixels), _answer(assigner, scene)
    require_equal(found.target, expected.target, "the targets of boxes in pixels")
    require_equal(_pairs(found), _pairs(expected), "the pairs of boxes in pixels")


def a_rule_of_least_cost_says_that_it_is_one_to_one(assigner: Assigner, scene: Scene) -> None:
    """``Rule.repeat`` is for rules that say so: one that gives an object one candidate, by its least cost, is one."""
    if not isinstance(ask(assigner, scene.prediction, scene.targets, Draw.of(0)), Problem):
        return
    image, _, owner = _answer(assigner, scene).pairs().unbind(1)
    is_one_to_one = len(torch.stack((image, owner), dim=1).unique(dim=0)) == len(image)
    require(
        getattr(assigner, "is_one_to_one", not is_one_to_one) == is_one_to_one,
        f"it gives an object {'one candidate' if is_one_to_one else 'several candidates'}: set is_one_to_one = "
        f"{is_one_to_one}",
    )


def half_precision_is_assigned_as_float32(assigner: Assigner, scene: Scene) -> None:
    """Predictions in bfloat16 are assigned as the same numbers in float32."""
    half = scene.prediction.map(lambda tensor: tensor.bfloat16() if tensor.is_floating_point() else tensor)
    half = replace(half, frame=scene.prediction.frame, strides=scene.prediction.strides)
    full = half.map(lambda tensor: tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
    expected = _answer(assigner, replace(scene, prediction=full))
    _require_alike(_answer(assigner, replace(scene, prediction=half)), expected, "in bfloat16")


def a_compiled_rule_is_one_graph_and_answers_alike(assigner: Assigner, scene: Scene) -> None:
    """``torch.compile(fullgraph=True)`` takes the rule, and gives what eager PyTorch gives."""
    with one_graph(assign, with_backward=False) as compiled:
        found = compiled(assigner, scene.prediction, scene.targets, Draw.of(0))
    _require_alike(found, _answer(assigner, scene), "compiled")


class _Operators(TorchDispatchMode):
    """Keeps the names of all operators that are called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> object:  # noqa: ANN401 - as torch
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def _answer(assigner: Assigner, scene: Scene, draw: Draw | None = None) -> Matches:
    return assign(assigner, scene.prediction, scene.targets, Draw.of(0) if draw is None else draw)


def _require_alike(found: Matches, expected: Matches, when: str) -> None:
    require_equal(found.target, expected.target, f"the targets {when}")
    require_equal(_pairs(found), _pairs(expected), f"the pairs {when}")
    require_equal(found.quality, expected.quality, f"Matches.quality {when}")
    require_equal(found.class_target, expected.class_target, f"Matches.class_target {when}")
    require(found.notes.keys() == expected.notes.keys(), f"{when} the rule notes {sorted(found.notes)}")
    for name, note in expected.notes.items():
        require_equal(found.notes[name], note, f"the note {name!r} {when}")


def _pairs(matches: Matches, *, candidates: Tensor | None = None, objects: Tensor | None = None) -> Tensor:
    """Sorted pairs, with the numbers that candidates and objects had before they were put in another order."""
    image, candidate, owner = matches.pairs().unbind(1)
    rows = (
        image,
        candidate if candidates is None else candidates[candidate],
        owner if objects is None else objects[owner],
    )
    pairs: Tensor = torch.stack(rows, dim=1).unique(dim=0)
    return pairs


def _of_image(index: int, num_images: int, values: Tensor) -> Tensor:
    """What was drawn for one image, or for all alike."""
    return values[index : index + 1] if len(values) == num_images else values


def _reordered(values: Tensor, order: Tensor) -> Tensor:
    """Along every dimension that is as long as the order."""
    for dim, size in enumerate(values.shape):
        if size == len(order):
            values = values.index_select(dim, order)
    return values
