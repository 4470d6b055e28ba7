"""The layout of a published checkpoint: its names and ours, both ways.

A layout is a list of pairs ``(published, ours)``, each the begin of a name. ``#`` stands for a number, and ``{layers}``
for the number of decoder layers. One parameter of ours may be published under several names, which must then be equal:
by several pairs, or by a pair whose published name alone has a number, that of every decoder layer.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

Pair = tuple[str, str]

PUBLISHED, OURS = 0, 1
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.")
_HEAD = re.compile(r"body\.heads\.(\d+|#)\.")


@dataclass(frozen=True)
class Release:
    """How one publication names the parameters of its detector.

    Attributes:
        name: Of the detector, for messages.
        pairs: Begins of names, published and ours; the first one that fits a published name decides.
        optional: Further pairs, for what not every detector of the publication has.
        joined: Parameters of ours whose rows are published below those of another one: that one, its further rows.
        constants: Vectors that every file may have beside the parameters, by published name.
        first_rows_last: Of parameters of ours, by the begin of their names, how many last rows are published first.
    """

    name: str
    pairs: tuple[Pair, ...]
    optional: tuple[Pair, ...] = ()
    joined: tuple[Pair, ...] = ()
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    first_rows_last: Mapping[str, int] = field(default_factory=dict)

    def misfits(self, names: Iterable[str], side: int) -> list[str]:
        """Why a state dict with these names, all ``PUBLISHED`` or all ``OURS``, is none of this layout; empty if it is.

        Returns:
            Names without a counterpart, and begins of names that are missing.
        """
        names = list(names)
        layers = _count_layers(names)
        known = {part for _, part in self.joined} if side == OURS else set(self.constants)
        of_any = _any_begin(self.pairs + self.optional, side, layers)
        unknown = [name for name in names if name not in known and not of_any.match(name)]
        begins = zip(self.pairs, _compiled(self.pairs, side, layers), strict=True)
        lines = "\n".join(names)  # one search through all: a match for each takes several times as long
        missing = [pair[side] for pair, (begin, _) in begins if not begin.search(lines)]
        return unknown + missing + (self._wrong_heads(names, layers) if side == OURS else [])

    def from_release(self, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published state dict under our names.

        Args:
            state: Of the publication.
            own: State dict of the detector; of parameters that are published as one, it says the numbers of rows.

        Raises:
            ValueError: A name has no counterpart, what should be one parameter differs or is missing once, or a
                constant has another value.
        """
        layers = _count_layers(state)
        found: dict[str, list[str]] = defaultdict(list)
        for name in state:
            for counterpart in self._counterparts(name, PUBLISHED, layers)[:1]:
                found[counterpart].append(name)
        known = {name for names in found.values() for name in names} | self._known_constants(state)
        self._require_all(sorted(set(state) - known))
        renamed = {name: _the_same(state, names) for name, names in found.items()}
        for name, names in found.items():
            expected = set(self._counterparts(name, OURS, layers))
            self._require_all(sorted(set(names) - expected))
            missing = sorted(expected - set(names))
            if missing:
                raise ValueError(
                    f"weights: missing: {', '.join(missing)}, in the layout of {self.name} further names of {names[0]}"
                )
        for main, further in self.joined:
            if main in renamed and further in own:
                rows = len(own[main])
                renamed[main], renamed[further] = renamed[main][:rows], renamed[main][rows:]
        return {name: _rolled(values, -self._moved_rows(name)) for name, values in renamed.items()}

    def to_release(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of ours under the published names, each parameter as often as it is published.

        Raises:
            ValueError: A parameter has no counterpart.
        """
        state = {name: _rolled(values, self._moved_rows(name)) for name, values in own.items()}
        for main, further in self.joined:
            if further in state:
                state[main] = torch.cat((state[main], state.pop(further)))
        layers = _count_layers(state)
        names = {name: self._counterparts(name, OURS, layers) for name in state}
        self._require_all(sorted(name for name, published in names.items() if not published))
        constants = {name: torch.tensor(values) for name, values in self.constants.items()}
        return constants | {published: state[name] for name in state for published in names[name]}

    def _moved_rows(self, name: str) -> int:
        """How many last rows of a parameter of ours are published first."""
        return next((rows for begin, rows in self.first_rows_last.items() if name.startswith(begin)), 0)

    def _counterparts(self, name: str, side: int, layers: int) -> list[str]:
        """Names on the other side, in the order of the pairs."""
        renamed = (_rename(name, *pair, layers) for pair in _compiled(self.pairs + self.optional, side, layers))
        return list(dict.fromkeys(other for names in renamed for other in names))

    def _known_constants(self, state: Mapping[str, Tensor]) -> set[str]:
        """Names of the constants in a published state dict.

        Raises:
            ValueError: One has another value.
        """
        known = set(self.constants) & set(state)
        for name in sorted(known):
            expected = torch.tensor(self.constants[name])
            if not torch.allclose(state[name].float(), expected, atol=1e-4):
                raise ValueError(f"weights: {name} must be {expected.tolist()}, got {state[name].tolist()}")
        return known

    def _wrong_heads(self, names: Iterable[str], layers: int) -> list[str]:
        """What is wrong with the number of prediction heads, as it were a name."""
        heads = {match.group(1) for name in names if (match := _HEAD.match(name))}
        published = {match.group(1) for _, ours in self.pairs if (match := _HEAD.match(ours))}
        expected = layers if "#" in published else len(published)
        return [] if len(heads) == expected else [f"body.heads ({expected} published, got {len(heads)})"]

    def _require_all(self, unknown: list[str]) -> None:
        if unknown:
            some = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
            has = "has" if len(unknown) == 1 else "have"
            raise ValueError(f"weights: {some} {has} no counterpart in the layout of {self.name}")


def head(classes: str, boxes: str, ours: str) -> tuple[Pair, ...]:
    """Pairs of a prediction head: the begins of its published class and box layers, and that of ours."""
    parts = ("first", "second", "last")
    return (
        (f"{classes}.", f"{ours}.class_logits."),
        *((f"{boxes}.layers.{number}.", f"{ours}.box_deltas.{part}.") for number, part in enumerate(parts)),
    )


def below(published: str, ours: str, parts: Iterable[str | Pair]) -> tuple[Pair, ...]:
    """Pairs of what lies below a begin; a part with one name has it on both sides."""
    named = ((part, part) if isinstance(part, str) else part for part in parts)
    return tuple((f"{published}{theirs}", f"{ours}{own}") for theirs, own in named)


@cache
def _compiled(pairs: tuple[Pair, ...], side: int, layers: int) -> tuple[tuple[re.Pattern[str], str], ...]:
    """What begins a name on one side, and what stands for it on the other."""
    filled = ([text.replace("{layers}", str(layers)) for text in pair] for pair in pairs)
    return tuple((_pattern(pair[side]), pair[1 - side]) for pair in filled)


@cache
def _any_begin(pairs: tuple[Pair, ...], side: int, layers: int) -> re.Pattern[str]:
    """What any of the pairs begins a name with on one side."""
    return re.compile("|".join(begin.pattern for begin, _ in _compiled(pairs, side, layers)))


def _pattern(begin: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(begin).replace(r"\#", r"(\d+)"), re.MULTILINE)


def _rename(name: str, begin: re.Pattern[str], target: str, layers: int) -> list[str]:
    match = begin.match(name)
    if match is None:
        return []
    numbers, rest = match.groups(), name[match.end() :]
    if target.count("#") > len(numbers):  # one parameter of ours, published for every layer
        return [f"{target.replace('#', str(layer))}{rest}" for layer in range(layers)]
    for number in numbers[: target.count("#")]:
        target = target.replace("#", number, 1)
    return [target + rest]


def _count_layers(names: Iterable[str]) -> int:
    return len({match.group(1) for name in names if (match := _LAYER.search(name))})


def _the_same(state: Mapping[str, Tensor], names: list[str]) -> Tensor:
    """The one tensor under several names."""
    first = state[names[0]]
    for name in names[1:]:
        if not torch.equal(first, state[name]):
            raise ValueError(f"weights: {names[0]} and {name} must be equal; they are one parameter")
    return first


def _rolled(values: Tensor, rows: int) -> Tensor:
    """The same object where nothing moves, such as a counter without rows."""
    return values.roll(rows, 0) if rows else values
