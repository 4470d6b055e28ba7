"""Collecting every fault of a file, so that its owner repairs them in one go."""

from collections import Counter
from collections.abc import Iterable

MAX_EXAMPLES = 5
"""Examples named for each kind of fault."""
_LONGEST_EXAMPLE = 200
"""Characters."""


class Problems:
    """Faults found in one source: kinds with their count and first examples.

    Args:
        source: The file or folder that the faults belong to, as the message names it.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, example: str) -> None:
        """Record one fault.

        Args:
            kind: What is wrong and what the rule is; faults of equal text are counted together.
            example: The place, such as an id or a name.
        """
        self._counts[kind] += 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(shortened(example))

    def add_all(self, faults: Iterable[tuple[str, str]]) -> None:
        """Record pairs of kind and example."""
        for kind, example in faults:
            self.add(kind, example)

    def lines(self) -> list[str]:
        """One line for each kind: count, kind, first examples."""
        return [f"{count} x {kind}: {self._shown(kind)}" for kind, count in self._counts.items()]

    def raise_if_any(self) -> None:
        """Raise ``ValueError`` that lists every kind of fault, if there is one."""
        if self._counts:
            raise ValueError("\n  ".join([f"{self._source} cannot be used:", *self.lines()]))

    def _shown(self, kind: str) -> str:
        hidden = self._counts[kind] - len(self._examples[kind])
        return ", ".join(self._examples[kind]) + (f" and {hidden} more" if hidden else "")


def shortened(example: str) -> str:
    """One short line, whatever the file holds: characters that a terminal would obey are written out."""
    start = example[:_LONGEST_EXAMPLE]
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in start)
    return text if len(example) <= _LONGEST_EXAMPLE else f"{text}... ({len(example)} characters)"
