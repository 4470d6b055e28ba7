"""From predictions and ground truth to losses, through an assignment of every stage."""

from collections.abc import Mapping, Sequence
from copy import copy
from itertools import groupby
from typing import Self

import torch
from torch import Tensor

from deta.assign import Draw, ask, solve
from deta.losses.rules import Rule
from deta.losses.stages import Measured, Stages
from deta.losses.until import Until
from deta.structures import DetectionOutput, Losses, StageKey, StageMatches, Targets

_POOLED = ("normalizer", "per_object", "is_global", "sees", "unmatched", "repeat")
"""What rules must have alike whose losses are pooled."""


class Criterion:
    """Losses of every stage of a detector, by the rule of its role.

    Stages with one role are assigned and measured in one call, stacked along the batch. All assignments of least cost
    are solved in one transfer from the device.

    Args:
        rules: By role; a detector must give every role a stage, and have no other. None stands for no rule; of
            ``Until`` the epoch of the draw decides which of its two is meant.

    Raises:
        ValueError: There is none; or a rule is on, or pools with, a role without a rule.
    """

    def __init__(self, rules: Mapping[str, Rule | None]) -> None:
        self.rules = {role: rule for role, rule in rules.items() if rule is not None}
        if not self.rules:
            raise ValueError("a criterion needs at least one rule, such as that of the decoder layers")
        for role, rule in self.rules.items():
            if not isinstance(rule, Rule):
                raise ValueError(f"criterion.rules.{role} must be a Rule or null, got {rule!r:.80}")
        for role, rule in self.every_rule():
            for name, other in (("on", rule.on), ("pool", rule.pool)):
                if other is not None and other not in self.rules:
                    known = ", ".join(self.rules)
                    raise ValueError(
                        f"the rule of {role!r} has {name}={other!r}, but there are rules for {known} alone"
                    )
            if rule.pool is not None:
                _require_alike(role, rule, rule.pool, [each for name, each in self.every_rule() if name == rule.pool])

    def every_rule(self) -> list[tuple[str, Rule]]:
        """Roles with their rules; those of a rule that changes twice, in the order of its epochs."""
        return [
            (role, each)
            for role, rule in self.rules.items()
            for each in ((rule.first, rule.then) if isinstance(rule, Until) else (rule,))
        ]

    def at(self, draw: Draw) -> Self:
        """The criterion of the epoch of a draw, without rules that change.

        It gives what this one gives in that epoch. Code that is compiled with it lasts until a rule has changed, while
        code that reads the epoch itself is compiled anew in the first epochs, too.
        """
        if not any(isinstance(rule, Until) for rule in self.rules.values()):
            return self
        other = copy(self)
        other.rules = self._rules_at(draw)
        return other

    def __call__(self, output: DetectionOutput, targets: Targets, draw: Draw) -> Losses:
        """Assign and measure.

        Args:
            output: Predictions of every stage.
            targets: Ground truth of the batch.
            draw: Randomness of the rules.

        Raises:
            ValueError: A role without a rule, a rule without a stage, or stages of one role with different numbers of
                candidates; a rule's answer cannot be used, see ``ask``; or a rule is federated and the targets do not
                say what was looked for.
        """
        self._require_rules(output)
        rules = {role: rule for role, rule in self._rules_at(draw).items() if role not in output.left_out}
        parts = [Stages.of(role, rule, output, targets) for role, rule in rules.items()]
        answers = [
            ask(assigner, *stages.assigned(), draw.within(stages.role).within(name))
            for stages in parts
            for name, assigner in stages.assigners().items()
        ]
        solved = iter(solve(answers))
        measured: dict[tuple[StageKey, str], Measured] = {}
        matches: dict[StageKey, StageMatches] = {}
        for stages in parts:
            classes, *others = [stages.complete(next(solved)) for _ in stages.assigners()]
            boxes = others[0] if others else classes
            matches |= stages.report(classes, boxes)
            for place, entry in stages.measure(classes, boxes).items():
                measured[place] = measured[place].pooled(entry, place[1]) if place in measured else entry
        entries = list(measured.values())
        strays = [key for key, _ in measured if key not in output.stages]
        if strays:
            raise ValueError(f"losses are pooled with a stage that the detector does not have: {strays[0]}")
        return Losses(
            names=tuple(measured),
            sums=torch.stack([entry.sum for entry in entries]),  # [K]
            divisors=torch.stack([entry.divisor for entry in entries]),  # [K]
            floors=_constants(entries[0].sum, [entry.floor for entry in entries]),
            weights=_constants(entries[0].sum, [entry.weight for entry in entries]),
            is_global=tuple(entry.is_global for entry in entries),
            is_undivided=tuple(entry.is_undivided for entry in entries),
            has_own_divisors=_has_own_divisors([stages.rule for stages in parts], entries),
            matches=matches,
        )

    def _rules_at(self, draw: Draw) -> dict[str, Rule]:
        return {role: rule.at(draw) if isinstance(rule, Until) else rule for role, rule in self.rules.items()}

    def _require_rules(self, output: DetectionOutput) -> None:
        roles = {key.role for key in output.stages}
        for role in set(self.rules) - roles - set(output.left_out):
            raise ValueError(f"the criterion has a rule for {_named(role)}, which the detector does not have")
        for role in roles - set(self.rules):
            raise ValueError(f"the detector has {_named(role)}, for which the criterion has no rule")


def _require_alike(role: str, rule: Rule, pool: str, others: Sequence[Rule]) -> None:
    """Require rules whose losses add before the division to say alike what is added."""
    for name in _POOLED:
        own = getattr(rule, name)
        other = next((getattr(each, name) for each in others if getattr(each, name) != own), own)
        if own != other:
            raise ValueError(
                f"criterion.rules.{role}.{name}={own} pools with criterion.rules.{pool}, which has {name}={other}: "
                "set both alike"
            )


def _has_own_divisors(rules: Sequence[Rule], entries: Sequence[Measured]) -> bool:
    """Whether terms are divided by different numbers."""
    repeats = {rule.times for rule in rules}
    is_undivided = any(rule.normalizer == "none" for rule in rules)
    is_mean = any(rule.per_object == "mean" for rule in rules)
    is_pooled = any(rule.pool is not None for rule in rules)
    of_terms = any(entry.has_own_divisor or entry.floor != 1 or not entry.is_global for entry in entries)
    return of_terms or is_pooled or is_undivided or is_mean or repeats != {1}


def _constants(like: Tensor, values: Sequence[float]) -> Tensor:
    """``[K]`` numbers of the host, filled in on the device of ``like``: a copy would wait for it."""
    runs = [like.new_full((len(list(run)),), value) for value, run in groupby(values)]
    return runs[0] if len(runs) == 1 else torch.cat(runs)


def _named(role: str) -> str:
    names = {"first": "a first stage", "layers": "decoder layers"}
    return names.get(role, f"the stage {role!r}")
