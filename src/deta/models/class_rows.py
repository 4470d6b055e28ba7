"""Which rows of a detector's parameters belong to which class, and taking rows over from other weights by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from deta.models.dense.base import LevelHead
from deta.models.query.proposals import EncoderProposals


@dataclass(frozen=True)
class ClassRows:
    """How the rows of a parameter are shared out.

    Attributes:
        groups: Candidates of a cell, each of which has rows for all classes, one after the other.
        per_class: Rows of a class, of one group.
        others: Further rows, behind those of classes: of "no object", or of queries without a label.
        is_foreground: Whether the first row alone counts, and says that there is any object.
    """

    groups: int = 1
    per_class: int = 1
    others: int = 0
    is_foreground: bool = False

    def classes(self, rows: int) -> int:
        """Classes of a parameter with so many rows; of another layout it is not a whole number of them.

        Raises:
            ValueError: It is not.
        """
        number, rest = divmod(rows - self.others, self.groups * self.per_class)
        if rest or number < 1:
            raise ValueError(
                f"{rows} rows are not {self.groups} x {self.per_class} of every class and {self.others} more"
            )
        return number

    def taken(self, own: Tensor, other: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """A copy of a parameter with rows of another one.

        Args:
            own: ``[R, ...]``, fresh.
            other: ``[R', ...]``, of other classes.
            pairs: Class of ``own`` and class of ``other`` that it is.

        Returns:
            ``[R, ...]``; what ``pairs`` does not name, but for ``others``, is as in ``own``.
        """
        result = own.clone()
        if self.is_foreground:
            result[0] = other[0]
            return result
        mine, theirs = self._by_class(result), self._by_class(other)  # [groups, C, per_class, ...]
        for index, its in pairs:
            mine[:, index] = theirs[:, its]
        if self.others:
            result[-self.others :] = other[-self.others :]
        return result

    def _by_class(self, values: Tensor) -> Tensor:
        rows = values[: len(values) - self.others]
        return rows.view(self.groups, self.classes(len(values)), self.per_class, *values.shape[1:])


def class_rows(detector: nn.Module, larger: nn.Module) -> dict[str, ClassRows]:
    """The parameters of a detector that have rows of classes.

    Heads of levels have the classes of every candidate together, all others the rows of every class (``[A, C]`` and
    ``[C, K]``). A first stage that ranks by the first channel of its logits has the score of any object there.

    Args:
        detector: For one class; may be without content.
        larger: The same for two classes.

    Returns:
        By the names of the state dict, in its order.
    """
    rows = {}
    sizes = {name: len(value) for name, value in larger.state_dict().items() if value.ndim}
    for name, value in detector.state_dict().items():
        is_foreground = _ranks_by_first_channel(detector, name)
        added = sizes[name] - len(value) if value.ndim else 0
        if is_foreground and (added or len(value) == 1):
            rows[name] = ClassRows(is_foreground=True)
        elif added:
            by_level = isinstance(_owner(detector, name, LevelHead), LevelHead)
            groups, per_class = (added, 1) if by_level else (1, added)
            rows[name] = ClassRows(groups, per_class, others=len(value) - added)
    return rows


def _ranks_by_first_channel(detector: nn.Module, name: str) -> bool:
    source = _owner(detector, name, EncoderProposals)
    is_ranking = isinstance(source, EncoderProposals) and source.score == "first_channel"
    return is_ranking and ".head.class_logits." in name


def _owner(detector: nn.Module, name: str, kind: type[nn.Module]) -> nn.Module | None:
    """The module of a kind in which a parameter lies."""
    parts = name.split(".")[:-1]
    modules = (detector.get_submodule(".".join(parts[:length])) for length in range(len(parts), -1, -1))
    return next((module for module in modules if isinstance(module, kind)), None)


def same_classes(own: Sequence[str], others: Sequence[str | None]) -> list[tuple[int, int]]:
    """Classes that have one name in two lists, but for upper case and spaces around it, as pairs of places.

    Args:
        own: Names.
        others: Names; None has none. Of several that are alike the first is taken.
    """
    places = {_plain(name): place for place, name in reversed([*enumerate(others)]) if name is not None}
    return [(index, places[_plain(name)]) for index, name in enumerate(own) if _plain(name) in places]


def _plain(name: str) -> str:
    return name.strip().casefold()


def taken_by_class(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    rows: Mapping[str, ClassRows],
    pairs: Sequence[tuple[int, int]],
) -> dict[str, Tensor]:
    """Weights for a detector of other classes: rows of ``pairs`` are taken over, the others are as in ``own``.

    Args:
        own: State dict of the detector, fresh.
        weights: Name to tensor, of another number of classes.
        rows: See ``class_rows``.
        pairs: See ``same_classes``.

    Raises:
        ValueError: A parameter that has rows of classes has other dimensions.
    """
    for name in rows.keys() & weights.keys() & own.keys():
        if own[name].shape[1:] != weights[name].shape[1:]:
            shapes = f"{tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
            raise ValueError(
                f"weights: {name} is that of another model ({shapes}): give the words of the training of the weights, "
                "such as system=, size= and model=; deta weights list NAME shows those of published weights, "
                "words.json those of a run"
            )
    return {
        name: rows[name].taken(own[name], value.to(own[name].dtype), pairs) if name in rows and name in own else value
        for name, value in weights.items()
    }


def number_of_classes(weights: Mapping[str, Tensor], rows: Mapping[str, ClassRows]) -> int:
    """For how many classes weights are, by their rows.

    Raises:
        ValueError: Their parameters do not agree.
    """
    numbers = {
        name: each.classes(len(weights[name]))
        for name, each in rows.items()
        if name in weights and not each.is_foreground
    }
    if len(set(numbers.values())) != 1:
        told = ", ".join(f"{name}: {number}" for name, number in list(numbers.items())[:3])
        raise ValueError(f"weights: for how many classes they are is not clear ({told or 'no rows of classes'})")
    return next(iter(numbers.values()))
