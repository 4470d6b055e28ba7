"""A rule that is another one in the first epochs of a training."""

from dataclasses import dataclass, field, fields

from deta.losses.rules import Rule
from deta.ops.random import Draw
from deta.utils.checks import require_int


@dataclass(frozen=True, kw_only=True)
class Until(Rule):
    """A rule with another one before it; its settings are those from ``epoch`` on.

    Source: TOOD starts with another assignment (arXiv:2108.07755, sec. 4.1), YOLOX ends with a further loss
    (arXiv:2107.08430, sec. 2.1).

    Attributes:
        epoch: The first one that is not that of ``first``, counted from 0; at least 1.
        first: The rule before.
        then: The rule from that epoch on, without this change.

    Raises:
        ValueError: The epoch is none, or ``first`` no rule; or as those of a rule.
    """

    epoch: int
    first: Rule
    then: Rule = field(init=False)

    def __post_init__(self) -> None:
        require_int("epoch", self.epoch, low=1)
        if not isinstance(self.first, Rule):
            raise ValueError(f"first must be a Rule, got {self.first!r:.80}")
        object.__setattr__(self, "then", Rule(**{each.name: getattr(self, each.name) for each in fields(Rule)}))

    def at(self, draw: Draw) -> Rule:
        """The rule of the epoch of a draw."""
        return self.first if draw.epoch < self.epoch else self.then
