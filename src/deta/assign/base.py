"""What an assignment rule is, and what rules share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from deta.ops.assignment import solve_assignments
from deta.ops.boxes import to_corners
from deta.ops.iou import pairwise_iou
from deta.ops.random import Draw
from deta.structures import BACKGROUND, Matches, Prediction, Targets


@dataclass(frozen=True)
class Problem:
    """An assignment of least total cost, to be solved together with all others of a step.

    Attributes:
        cost: ``[B, N, T]`` of every pair; padding of T may hold anything.
        is_object: ``[B, T]`` bool.
        finish: Turns the ``[B, N]`` solution into the answer of the rule.
    """

    cost: Tensor
    is_object: Tensor
    finish: Callable[[Tensor], Matches] = Matches

    def then(self, function: Callable[[Matches], Matches]) -> "Problem":
        """The same problem, with ``function`` applied to its answer; see ``Matches.then``."""
        return replace(self, finish=lambda target: function(self.finish(target)))


class Assigner(Protocol):
    """Decides which candidate answers for which object. Rules from other packages implement this.

    A rule that gives an object at most one candidate may say so by an attribute ``is_one_to_one = True``:
    ``Rule.repeat`` is for such rules alone. One that refuses candidates without some part of ``Prediction`` may name
    it, as ``needs = ("levels", "strides")``: a training of queries that have none is refused before it starts.
    """

    def __call__(self, prediction: Prediction, targets: Targets, draw: Draw) -> Matches | Problem:
        """Assign every candidate of a batch to an object, to the background, or to nothing.

        Args:
            prediction: Detached. Candidates that ``can_match`` excludes must not become positive.
            targets: Objects, padded; padding must not receive a candidate.
            draw: Source of randomness.

        Returns:
            The answer, or a problem of which it is the solution.
        """
        ...


def ask(assigner: Assigner, prediction: Prediction, targets: Targets, draw: Draw) -> Matches | Problem:
    """The answer of a rule, looked at before anything is computed from it; the device is not waited for.

    It is asked in the precision of what it is given: under autocast a product of matrices would round what decides.

    Raises:
        ValueError: The rule has answered with something else, or with tensors of another shape or type.
    """
    with torch.autocast(prediction.logits.device.type, enabled=False):
        answer = assigner(prediction, targets, draw)
    name = type(assigner).__name__
    if isinstance(answer, Problem):
        table = (*prediction.logits.shape[:2], targets.is_object.shape[1])
        _require_tensor(f"{name}: Problem.cost", answer.cost, table, is_expected=answer.cost.is_floating_point())
        return answer.then(lambda matches: _checked(name, matches, prediction))
    return _checked(name, answer, prediction)


def _checked(name: str, matches: Matches, prediction: Prediction) -> Matches:
    if not isinstance(matches, Matches):
        raise ValueError(f"{name} must answer with Matches or a Problem, got {type(matches).__name__}")
    shape = tuple(prediction.logits.shape[:2])
    target = matches.target
    _require_tensor(f"{name}: Matches.target", target, shape, is_expected=target.dtype == torch.int64)
    if matches.quality is not None:
        is_number = matches.quality.is_floating_point()
        _require_tensor(f"{name}: Matches.quality", matches.quality, shape, is_expected=is_number)
    if matches.class_target is not None:
        wanted, is_number = tuple(prediction.logits.shape), matches.class_target.is_floating_point()
        _require_tensor(f"{name}: Matches.class_target", matches.class_target, wanted, is_expected=is_number)
    for note, values in matches.notes.items():
        wanted = shape[:1] if values.dim() == 1 else shape
        _require_tensor(f"{name}: the note {note!r}", values, wanted, is_expected=values.dtype == torch.bool)
    return matches


def _require_tensor(name: str, values: Tensor, shape: tuple[int, ...], *, is_expected: bool) -> None:
    if tuple(values.shape) != shape or not is_expected:
        raise ValueError(
            f"{name} must have shape {shape} and the type that deta.assign asks for, "
            f"got {tuple(values.shape)} of {values.dtype}"
        )


@torch.no_grad()
def solve(answers: Sequence[Matches | Problem]) -> list[Matches]:
    """The answers with every problem among them solved, all in one transfer from the device."""
    problems = [answer for answer in answers if isinstance(answer, Problem)]
    solved = iter(
        solve_assignments([problem.cost for problem in problems], [problem.is_object for problem in problems])
    )
    return [answer.finish(next(solved)) if isinstance(answer, Problem) else answer for answer in answers]


def assign(assigner: Assigner, prediction: Prediction, targets: Targets, draw: Draw) -> Matches:
    """The answer of one rule alone."""
    return solve([ask(assigner, prediction.detach(), targets, draw)])[0]


def prior_iou(prediction: Prediction, targets: Targets) -> Tensor:
    """IoU of objects and priors, ``[B, T, N]`` float32; -1 for padding and candidates that cannot match."""
    # In half precision overlaps tie that differ, and thresholds are met by rounding.
    objects = to_corners(targets.boxes.float())
    priors = to_corners(prediction.priors.float())
    is_pair = targets.is_object[:, :, None] & prediction.can_match()[:, None, :]  # [B, T, N]
    return pairwise_iou(objects, priors).masked_fill(~is_pair, -1.0)


def background(prediction: Prediction) -> Tensor:
    """``[B, N]`` target in which every candidate is background."""
    shape = prediction.logits.shape[:2]
    return torch.full(shape, BACKGROUND, dtype=torch.int64, device=prediction.logits.device)
