"""What every loss term must do, on any input."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from deta.losses import Sum, Term
from deta.structures import BACKGROUND, IGNORED, ExtraPairs, Matches, Prediction, Targets
from deta.testing.harness import (
    check,
    gradients,
    name_of,
    one_graph,
    require,
    require_equal,
    require_finite,
    require_tensor,
    require_unchanged,
)
from deta.testing.scenes import (
    Scene,
    federated,
    in_order_of_candidates,
    in_order_of_objects,
    ordinary,
    permutation,
    scenes,
    with_other_padding,
)

TRAINED = ("logits", "boxes", "quality", "code")
"""Parts of a prediction that a loss may train."""
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}
"""Of float32 sums over some hundred numbers in another order."""


@dataclass(frozen=True)
class Assigned(Scene):
    """A scene with an assignment.

    Attributes:
        matches: Of its prediction.
    """

    matches: Matches

    @classmethod
    def of(cls, scene: Scene, name: str | None = None, **changes: Tensor | ExtraPairs | None) -> "Assigned":
        """``scene`` with an arbitrary assignment, parts of which ``changes`` replaces."""
        matches = replace(any_matches(scene), **changes)  # type: ignore[arg-type]
        return cls(scene.name if name is None else name, scene.prediction, scene.targets, matches)


def any_matches(scene: Scene) -> Matches:
    """Candidates in turn answer for an object, are background, and are ignored, wherever they lie."""
    is_object = scene.targets.is_object
    number = torch.arange(scene.prediction.num_candidates)
    count = is_object.sum(1, keepdim=True)
    rank = is_object.long().cumsum(1) - 1
    wanted = (number // 3) % count.clamp(min=1)  # [B, N], of the objects in their order
    is_wanted = (rank[:, None] == wanted[..., None]) & is_object[:, None]  # [B, N, T]
    owner = is_wanted.byte().argmax(-1) if is_object.shape[1] else torch.zeros_like(wanted)
    target = torch.where(number % 3 == 0, torch.where(count > 0, owner, BACKGROUND), BACKGROUND)
    target = torch.where(number % 3 == 1, IGNORED, target)
    if scene.prediction.exists is not None:
        target = torch.where(scene.prediction.exists, target, IGNORED)
    quality = (target >= 0) * (0.1 + 0.8 * ((number % 7) / 7))
    return Matches(target, quality=quality)


def check_term(
    term: Term,
    *,
    needs: Sequence[str] = (),
    without: Collection[str] = (),
    takes_federated: bool = True,
    has_background: bool = False,
) -> None:
    """Check a term on ordinary and on hostile input.

    Args:
        term: The term.
        needs: Optional parts of ``Prediction`` without which it refuses, such as ``quality``.
        without: Names of properties (functions of ``deta.testing.terms``) that it does not promise.
        takes_federated: Whether it takes targets that say which classes were looked for, and trains no other; else it
            must refuse them.
        has_background: Whether the last logit is that of the background, which is looked for everywhere.

    Raises:
        AssertionError: A property does not hold; the message names it and the input.
        ValueError: A name in ``without`` is none of a property.
    """
    every, usual = assigned_scenes(needs), Assigned.of(ordinary())
    partial = [case for case in every if case.targets.federated is not None]
    unknown = [_with_background_looked_for(case) for case in partial] if has_background else partial
    if not takes_federated:
        every = [case for case in every if case.targets.federated is None]
    empty = next(case for case in every if case.name == "padding in place of all objects")
    properties: dict[Callable[[Term, Assigned], None], list[Assigned]] = {
        a_sum_is_finite_and_so_are_its_gradients: every,
        a_sum_depends_on_its_input_alone: [usual],
        positives_are_trained: [usual],
        padded_objects_do_not_matter: [usual, empty],
        ignored_candidates_count_nothing: [usual],
        the_order_of_candidates_does_not_matter: [usual],
        the_order_of_objects_does_not_matter: [usual],
        images_do_not_matter_to_each_other: [usual],
        half_precision_is_measured_in_float32: [usual, empty],
        a_compiled_term_is_one_graph_and_gives_the_same: [usual, empty],
        classes_that_were_not_looked_for_are_not_trained: unknown if takes_federated else [],
        classes_that_were_not_looked_for_are_refused: [] if takes_federated else partial,
    }
    check(term, properties, name=name_of(term), without=without)


def assigned_scenes(needs: Sequence[str] = ()) -> list[Assigned]:
    """All scenes with an assignment, and assignments that are special."""
    usual = ordinary()
    prediction = usual.prediction
    target = any_matches(usual).target
    boxes = torch.where((target >= 0)[..., None], _owned(usual.targets, target), prediction.boxes)
    perfect = replace(usual, prediction=replace(prediction, boxes=boxes))
    for_classes = replace(prediction, boxes=prediction.boxes[:, :, None] * torch.linspace(0.8, 1.2, 6)[:, None])
    flat = replace(prediction, boxes=prediction.boxes * torch.tensor([1.0, 1.0, 0.0, 0.0]))
    extra = ExtraPairs(
        query=torch.tensor([[0, 0], [0, 0], [3, 0]]),
        target=torch.tensor([[1, 0], [0, 0], [2, 0]]),
        is_pair=torch.tensor([[True, False], [False, False], [True, False]]),
    )
    spread = torch.rand(prediction.logits.shape, generator=torch.Generator().manual_seed(0))
    return [
        *map(Assigned.of, scenes(needs)),
        Assigned.of(usual, "candidates that answer for two objects", extra=extra),
        Assigned.of(usual, "background alone", target=torch.full_like(target, BACKGROUND), quality=None),
        Assigned.of(usual, "nothing that counts", target=torch.full_like(target, IGNORED), quality=None),
        Assigned.of(usual, "no quality", quality=None),
        Assigned.of(usual, "targets of every class", class_target=spread),
        Assigned.of(perfect, "boxes exactly on their objects"),
        Assigned.of(replace(usual, prediction=flat), "predicted boxes without area"),
        Assigned.of(replace(usual, prediction=for_classes), "a box for every class"),
        Assigned.of(replace(usual, targets=federated(usual.targets)), "classes looked for in some images alone"),
    ]


def a_sum_is_finite_and_so_are_its_gradients(term: Term, case: Assigned) -> None:
    """``Sum`` holds float32 numbers of images; value, divisor and the gradient of every prediction are finite."""
    found, trained = _measured(term, case)
    shape = (len(case.targets.boxes),)
    require_tensor(found.value, "Sum.value", shape, torch.float32)
    require_finite({"Sum.value": found.value, **trained}, "a sum or the gradient of a prediction")
    if found.divisor is not None:
        require_tensor(found.divisor, "Sum.divisor", shape, torch.float32)
        require_finite({"Sum.divisor": found.divisor}, "a divisor")
        require(bool((found.divisor >= 0).all()), "a divisor is negative")
        require(not found.divisor.requires_grad, "a divisor carries a gradient")
    require(found.floor > 0, f"the floor is {found.floor}: a batch without objects would divide by zero")
    require(term.weight >= 0, f"the weight is {term.weight}")


def classes_that_were_not_looked_for_are_not_trained(term: Term, case: Assigned) -> None:
    """Logits of classes that an image neither shows nor lists as absent or sampled have no gradient."""
    federated = case.targets.federated
    assert federated is not None
    shown = torch.where(case.targets.is_object, case.targets.labels, -1)
    known = torch.cat((shown, federated.negative, federated.sampled), dim=1)  # [B, K]
    classes = torch.arange(case.prediction.logits.shape[2])
    is_known = (known[..., None] == classes).any(1)  # [B, C]
    _, trained = _measured(term, case)
    gradient = trained["logits"].abs().sum(1)  # [B, C]
    require(not gradient[~is_known].any(), "the logit of a class that was not looked for has a gradient")


def classes_that_were_not_looked_for_are_refused(term: Term, case: Assigned) -> None:
    """Targets that say which classes were looked for end in ``ValueError``."""
    try:
        _measured(term, case)
    except ValueError:
        return
    require(False, "targets that say which classes were looked for are taken")


def positives_are_trained(term: Term, case: Assigned) -> None:
    """Where there are positives, some prediction has a gradient that is not zero."""
    _, trained = _measured(term, case)
    require(any(bool(gradient.any()) for gradient in trained.values()), "no prediction has a gradient")


def a_sum_depends_on_its_input_alone(term: Term, case: Assigned) -> None:
    """Asked again, after other input, the term gives the same, and it has left its input as it was."""
    kept, again = case.map(Tensor.clone), case.map(Tensor.clone)
    expected = _measured(term, case)
    for name in ("prediction", "targets", "matches"):
        require_unchanged(getattr(case, name), getattr(kept, name), name)
    _measured(term, case.image(0))
    _require_alike(_measured(term, again), expected, "asked again", exactly=True)


def padded_objects_do_not_matter(term: Term, case: Assigned) -> None:
    """More padding, and anything in it, leaves sums and gradients as they are."""
    padded = replace(case, targets=with_other_padding(case.targets, case.prediction.boxes))
    _require_alike(_measured(term, padded), _measured(term, case), "with other padding")


def ignored_candidates_count_nothing(term: Term, case: Assigned) -> None:
    """What is predicted for ``IGNORED`` candidates changes no sum, and has no gradient."""
    is_ignored = case.matches.target == IGNORED
    parts = {name: part for name in TRAINED if (part := getattr(case.prediction, name)) is not None}
    changed: dict[str, Any] = {
        name: torch.where(_like(is_ignored, part), 0.3 - part, part) for name, part in parts.items()
    }
    other = replace(case, prediction=replace(case.prediction, **changed))
    found, expected = _measured(term, other), _measured(term, case)
    _require_alike(found, expected, "with other predictions for ignored candidates")
    for name, gradient in expected[1].items():
        require(not gradient[is_ignored].any(), f"{name} of ignored candidates has a gradient")


def the_order_of_candidates_does_not_matter(term: Term, case: Assigned) -> None:
    """Candidates in another order with their matches have the same sum, and their gradients."""
    order = permutation(case.prediction.num_candidates)
    mixed = replace(
        case,
        prediction=in_order_of_candidates(case.prediction, order),
        matches=case.matches.map(lambda tensor: tensor[:, order]),
    )
    value, trained = _measured(term, case)
    _require_alike(_measured(term, mixed), (value, _each(trained, order)), "of candidates in another order")


def the_order_of_objects_does_not_matter(term: Term, case: Assigned) -> None:
    """Objects in another order, with padding between them, have the same sum."""
    order = permutation(case.targets.is_object.shape[1])
    target, place = case.matches.target, order.argsort()
    matches = replace(case.matches, target=torch.where(target >= 0, place[target.clamp(min=0)], target))
    mixed = replace(case, targets=in_order_of_objects(case.targets, order), matches=matches)
    _require_alike(_measured(term, mixed), _measured(term, case), "with objects in another order")


def images_do_not_matter_to_each_other(term: Term, case: Assigned) -> None:
    """An image alone has the sum and the divisor that it has in a batch."""
    together, _ = _measured(term, case)
    for index in range(len(case.targets.boxes)):
        alone, _ = _measured(term, case.image(index))
        only = slice(index, index + 1)
        require_equal(alone.value, together.value[only], f"the sum of image {index} alone", **ROUNDING)
        divisor = None if together.divisor is None else together.divisor[only]
        require_equal(alone.divisor, divisor, f"the divisor of image {index} alone", **ROUNDING)


def half_precision_is_measured_in_float32(term: Term, case: Assigned) -> None:
    """Predictions in bfloat16, also under autocast, have the float32 sum of the same numbers."""
    floats = {name: part for name in TRAINED if (part := getattr(case.prediction, name)) is not None}
    half = {name: part.bfloat16() for name, part in floats.items()}
    cases: list[dict[str, Any]] = [half, {name: part.float() for name, part in half.items()}]
    found, full = (replace(case, prediction=replace(case.prediction, **parts)) for parts in cases)
    expected, _ = _measured(term, full)
    for name, is_autocast in (("in bfloat16", False), ("in bfloat16 under autocast", True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_autocast):
            result, trained = _measured(term, found)
        require_equal(result.value, expected.value, f"the sum {name}", **ROUNDING)
        require_finite(trained, f"a gradient {name}")


def a_compiled_term_is_one_graph_and_gives_the_same(term: Term, case: Assigned) -> None:
    """``torch.compile(fullgraph=True)`` takes the term, and sum and gradients are those of eager PyTorch."""

    def value(prediction: Prediction, matches: Matches, targets: Targets) -> Tensor:
        return term(prediction, matches, targets).value

    leaves: dict[str, Any] = _leaves(case.prediction)
    prediction = replace(case.prediction, **leaves)
    with one_graph(value, with_backward=True) as compiled:
        found = compiled(prediction, case.matches, case.targets)
        trained = gradients(found.sum(), leaves)
    expected, gradient = _measured(term, case)
    require_equal(found.detach(), expected.value, "the compiled sum", **ROUNDING)
    for name, values in gradient.items():
        require_equal(trained[name], values, f"the gradient of {name}, compiled", **ROUNDING)


def _measured(term: Term, case: Assigned) -> tuple[Sum, dict[str, Tensor]]:
    """Sums without gradient, and the gradient of the sum over images by part of the prediction."""
    leaves: dict[str, Any] = _leaves(case.prediction)
    result = term(replace(case.prediction, **leaves), case.matches, case.targets)
    require(isinstance(result, Sum), f"a term must give a Sum, got {type(result).__name__}")
    trained = gradients(result.value.sum(), leaves)
    return replace(result, value=result.value.detach()), trained


def _leaves(prediction: Prediction) -> dict[str, Tensor]:
    parts = {name: getattr(prediction, name) for name in TRAINED}
    return {name: part.detach().clone().requires_grad_() for name, part in parts.items() if part is not None}


def _require_alike(
    found: tuple[Sum, dict[str, Tensor]], expected: tuple[Sum, dict[str, Tensor]], when: str, *, exactly: bool = False
) -> None:
    tolerance = {} if exactly else ROUNDING
    require_equal(found[0].value, expected[0].value, f"the sum {when}", **tolerance)
    require_equal(found[0].divisor, expected[0].divisor, f"the divisor {when}", **tolerance)
    for name, gradient in expected[1].items():
        require_equal(found[1][name], gradient, f"the gradient of {name} {when}", **tolerance)


def _owned(targets: Targets, target: Tensor) -> Tensor:
    """``[B, N, 4]`` boxes of the objects."""
    return targets.boxes.gather(1, target.clamp(min=0)[..., None].expand(*target.shape, 4))


def _with_background_looked_for(case: Assigned) -> Assigned:
    federated = case.targets.federated
    assert federated is not None
    background = torch.full_like(federated.sampled[:, :1], case.prediction.logits.shape[2] - 1)
    known = replace(federated, sampled=torch.cat((federated.sampled, background), dim=1))
    return replace(case, targets=replace(case.targets, federated=known))


def _like(flags: Tensor, part: Tensor) -> Tensor:
    """``[B, N]`` flags with as many dimensions as ``part``."""
    return flags.view(*flags.shape, *[1] * (part.dim() - 2))


def _each(parts: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    return {name: part[:, order] for name, part in parts.items()}
