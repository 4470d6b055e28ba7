"""All stages that share a rule, as one batch."""

from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from deta.assign import Assigner, ignore_covered, statistics
from deta.losses.rules import Rule
from deta.losses.terms import Sum
from deta.ops.rows import take_rows
from deta.structures import (
    BACKGROUND,
    IGNORED,
    DetectionOutput,
    Matches,
    Prediction,
    StageKey,
    StageMatches,
    Targets,
    TensorStruct,
)

Struct = TypeVar("Struct", bound=TensorStruct)


@dataclass(frozen=True)
class Measured:
    """One term of one stage, see ``Losses``; sum and divisor are scalars, the rest is known on the host."""

    sum: Tensor
    divisor: Tensor
    floor: float
    weight: float
    is_global: bool
    has_own_divisor: bool
    is_undivided: bool

    def pooled(self, other: Self, name: str) -> Self:
        """Sums and divisors of both together.

        Raises:
            ValueError: They differ in something that a sum of both cannot have twice.
        """
        for part in ("floor", "weight", "is_global", "has_own_divisor", "is_undivided"):
            own, others = getattr(self, part), getattr(other, part)
            if own != others:
                raise ValueError(f"terms {name!r} that are pooled must have one {part}, got {own} and {others}")
        return replace(self, sum=self.sum + other.sum, divisor=self.divisor + other.divisor)


@dataclass(frozen=True)
class Stages:
    """The K stages of one role, stacked along the batch.

    Attributes:
        role: Their role.
        rule: Theirs.
        keys: The K stages.
        leaders: Positions in ``keys`` of the stages that are assigned.
        followed: For every stage, the place in ``leaders`` of the one whose assignment it has.
        prediction: ``[K * B, N, ...]``.
        led: Those of the leaders, ``[len(leaders) * B, N, ...]``.
        base: What the assigner sees instead, for rules that are ``on`` another role; else None.
        targets: The objects of the images of ``prediction``, as the rule sees them, in the unit of its boxes.
        led_targets: Those of the images of ``led``.
        offered: The objects that assigners see, each as often as it is offered, in the unit of the boxes beside them.
    """

    role: str
    rule: Rule
    keys: tuple[StageKey, ...]
    leaders: tuple[int, ...]
    followed: tuple[int, ...]
    prediction: Prediction
    led: Prediction
    base: Prediction | None
    targets: Targets
    led_targets: Targets
    offered: Targets

    @classmethod
    def of(cls, role: str, rule: Rule, output: DetectionOutput, targets: Targets) -> Self:
        """Those of ``role`` in ``output``; at least one."""
        found = output.of_role(role)
        keys = tuple(found)
        is_shared = rule.rematch == "once" and rule.on is None
        first = {key.copy: place for place, key in reversed(tuple(enumerate(keys)))}
        leaders = tuple(sorted(first.values())) if is_shared else tuple(range(len(keys)))
        followed = tuple(leaders.index(first[key.copy] if is_shared else place) for place, key in enumerate(keys))
        base = None if rule.on is None else next(iter(output.of_role(rule.on).values()))
        predictions = list(found.values())
        prediction = Prediction.stack(predictions)
        led = prediction if len(leaders) == len(keys) else Prediction.stack([predictions[place] for place in leaders])
        seen = rule.seen(targets, role)
        own = seen.in_unit_of(prediction)
        of_leaders = own.repeat_batch(len(leaders))
        of_all = of_leaders if len(leaders) == len(keys) else own.repeat_batch(len(keys))
        offered = (of_leaders if base is None else seen.in_unit_of(base)).repeat_objects(rule.times)
        return cls(role, rule, keys, leaders, followed, prediction, led, base, of_all, of_leaders, offered)

    def assigners(self) -> dict[str, Assigner]:
        """By what they assign."""
        boxes = {} if self.rule.box_assigner is None else {"boxes": self.rule.box_assigner}
        return {"classes": self.rule.assigner, **boxes}

    def assigned(self) -> tuple[Prediction, Targets]:
        """What the assigners see: stages without gradient, and every object as often as it is offered."""
        return (self.led if self.base is None else self.base).detach(), self.offered

    def complete(self, answer: Matches) -> Matches:
        """The answer of an assigner as the assignment of the stages that are assigned."""
        matches = self._unrepeated(answer)
        if self.base is not None:
            matches = self._followed_from_source(matches)
        if self.rule.ignore_coverage is not None:
            matches = ignore_covered(matches, self.led, self.led_targets, self.rule.ignore_coverage)
        target = matches.target
        if self.rule.unmatched == "ignored" and self.led.may_match is not None:
            target = torch.where(~self.led.may_match & (target == BACKGROUND), IGNORED, target)
        exists, extra = self.led.exists, matches.extra
        if exists is not None:
            target = torch.where(exists, target, IGNORED)
            if extra is not None:
                extra = replace(extra, is_pair=extra.is_pair & take_rows(exists, extra.query))
        return replace(matches, target=target, extra=extra)

    def report(self, classes: Matches, boxes: Matches) -> dict[StageKey, StageMatches]:
        """Every assignment; one that serves all layers has no layer in its key."""
        count = len(self.leaders)
        figures = statistics(classes, self.led, self.led_targets, num_parts=count)
        parts = {}
        for place, leader in enumerate(self.leaders):
            key = self.keys[leader]
            if len(self.leaders) < len(self.keys):
                key = StageKey(key.role, copy=key.copy)
            own = _part(classes, count, place)
            parts[key] = StageMatches(own, own if boxes is classes else _part(boxes, count, place), figures[place])
        return parts

    def measure(self, classes: Matches, boxes: Matches) -> dict[tuple[StageKey, str], Measured]:
        """All terms of all stages."""
        rule = self.rule
        measured: dict[tuple[StageKey, str], Measured] = {}
        of_classes = self._spread(classes)
        of_boxes = of_classes if boxes is classes else self._spread(boxes)
        for spread, terms in ((of_classes, rule.class_terms), (of_boxes, rule.box_terms)):
            shared = None  # one divisor of all terms that have none of their own
            for name, term in terms.items():
                of_images = term(self.prediction, spread, self.targets)
                _require_sums(name, of_images, len(self.prediction.logits))
                has_own = of_images.divisor is not None
                sums = self._per_stage(rule.value(of_images, spread, self.targets))
                if of_images.divisor is not None:
                    divisors = self._per_stage(of_images.divisor)
                else:
                    shared = self._per_stage(rule.divisor(spread, self.targets)) if shared is None else shared
                    divisors = shared
                for index, key in enumerate(self.keys):
                    entry = Measured(
                        sum=sums[index],
                        divisor=divisors[index],
                        floor=of_images.floor,
                        weight=rule.weight * term.weight,
                        is_global=of_images.is_global and (rule.is_global or has_own),
                        has_own_divisor=has_own,
                        is_undivided=rule.normalizer == "none" and not has_own,
                    )
                    place = (key if rule.pool is None else StageKey(rule.pool, key.layer), name)
                    measured[place] = measured[place].pooled(entry, name) if place in measured else entry
        return measured

    def _spread(self, matches: Matches) -> Matches:
        """The assignments of all K stages, for terms, which no notes concern."""
        count = len(self.leaders)
        if count == len(self.keys):
            return matches
        matches = replace(matches, notes={})
        return matches.map(lambda tensor: torch.cat([tensor.chunk(count)[place] for place in self.followed]))

    def _unrepeated(self, matches: Matches) -> Matches:
        num_objects = self.targets.is_object.shape[1]
        if self.rule.times == 1 or num_objects == 0:
            return matches
        target = torch.where(matches.target >= 0, matches.target % num_objects, matches.target)
        extra = matches.extra
        if extra is not None:
            extra = replace(extra, target=extra.target % num_objects)
        return replace(matches, target=target, extra=extra)

    def _followed_from_source(self, matches: Matches) -> Matches:
        """Every candidate answers for the object of the one that it was made of; one that was made of none, for none.

        Raises:
            ValueError: The candidates do not say what they were made of, or a candidate before them has two objects.
        """
        source = self.prediction.source
        if source is None:
            raise ValueError(f"the rule of {self.role!r} is on {self.rule.on!r}, of which these queries are not made")

        if matches.extra is not None:
            raise ValueError(f"the rule of {self.role!r} is on {self.rule.on!r}: it must give no candidate two objects")

        def follow(values: Tensor) -> Tensor:
            """``[K * B, N]`` or ``[K * B, N, C]``."""
            return take_rows(values.repeat(len(self.keys), *[1] * (values.dim() - 1)), source)

        can_follow = (source >= 0) & self.prediction.can_match()
        target = torch.where(can_follow, follow(matches.target), BACKGROUND)
        notes = {
            name: follow(note) & can_follow if note.dim() == 2 else note.repeat(len(self.keys))
            for name, note in matches.notes.items()
        }
        quality = None if matches.quality is None else follow(matches.quality)
        class_target = None if matches.class_target is None else follow(matches.class_target)
        return Matches(target, quality, class_target, notes=notes)

    def _per_stage(self, of_images: Tensor) -> tuple[Tensor, ...]:
        """The K sums of ``[K * B]``."""
        return of_images.view(len(self.keys), -1).sum(1).unbind()


def _require_sums(name: str, found: Sum, num_images: int) -> None:
    for part, values in (("value", found.value), ("divisor", found.divisor)):
        if values is not None and tuple(values.shape) != (num_images,):
            raise ValueError(
                f"the term {name!r} must give Sum.{part} for each of {num_images} images, got {tuple(values.shape)}"
            )


def _part(stacked: Struct, count: int, place: int) -> Struct:
    """One of ``count`` equal parts along the batch."""
    return stacked if count == 1 else stacked.map(lambda tensor: tensor.chunk(count)[place])
