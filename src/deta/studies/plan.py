"""A study as it is declared, and the runs that it asks for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Self

from deta.runs.former import present_keys
from deta.runs.former_words import present_words
from deta.utils.checks import require_folder_name, require_int
from deta.utils.files import read_json, write_json

STUDY = "study.json"
"""In the directory of a study: its plan."""
POSTPROCESS = "postprocess"
"""Name of the selection of detections among the factors of a cell."""
_KEYS = ("name", "title", "base", "fixed", "budget", "axes", "base_cell", "seeds", "postprocess")

Factors = Mapping[str, str]


@dataclass(frozen=True)
class PlannedAxis:
    """What a study varies.

    Attributes:
        name: Short name, such as ``tau``.
        keys: Configuration keys that may differ along it, with all that stands below them.
        levels: Name of every level to the overrides that make it.
    """

    name: str
    keys: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Study:
    """A comparison as declared.

    Attributes:
        name: Of the study and of its folder.
        title: What it asks, in a sentence.
        base: Overrides of ``deta train`` that every run starts from, such as its experiment.
        fixed: Overrides that every run has for the sake of the question.
        budget: Overrides that say how long every run takes.
        axes: What is varied; the cells are the product of their levels.
        base_cell: Level of every axis in the cell that the others are compared with; with a level of
            ``postprocess`` in all selections of detections, without one in each selection by itself.
        seeds: One run of every cell for each.
        postprocess: Selections of detections under which every model is reported.
    """

    name: str
    title: str
    base: tuple[str, ...]
    fixed: tuple[str, ...]
    budget: tuple[str, ...]
    axes: tuple[PlannedAxis, ...]
    base_cell: Factors
    seeds: tuple[int, ...]
    postprocess: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.axes:
            raise ValueError("study.axes must name at least one axis")
        for axis in self.axes:
            where = f"study.axes.{axis.name}"
            if not axis.keys:
                raise ValueError(f"{where}.keys must name the configuration keys that may differ along it")
            if len(axis.levels) < 2:
                raise ValueError(
                    f"{where}.levels must have at least two levels, got {', '.join(axis.levels) or 'none'}"
                )
            if axis.name == POSTPROCESS:
                raise ValueError(f"{where}: selections of detections need no training, name them in study.postprocess")
            if self.base_cell.get(axis.name) not in axis.levels:
                raise ValueError(
                    f"study.base_cell.{axis.name} must be one of {', '.join(axis.levels)}, "
                    f"got {self.base_cell.get(axis.name)!r}"
                )
        _require_distinct("study.seeds", self.seeds)
        _require_distinct("study.postprocess", self.postprocess)
        for name in self.postprocess:
            require_folder_name("study.postprocess: every name", name)
        for seed in self.seeds:
            require_int("study.seeds", seed, low=0)
        unknown = sorted(self.base_cell.keys() - {axis.name for axis in self.axes} - {POSTPROCESS})
        if unknown:
            raise ValueError(f"study.base_cell.{unknown[0]} is no axis of the study")
        if self.base_cell.get(POSTPROCESS, self.postprocess[0]) not in self.postprocess:
            raise ValueError(
                f"study.base_cell.postprocess must be one of {', '.join(self.postprocess)}, "
                f"got {self.base_cell[POSTPROCESS]!r}"
            )

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> Self:
        """Read plain data, as a file of ``conf/study`` gives it.

        The levels of an axis are overrides by name, or a list of values that each of its keys takes.

        Raises:
            ValueError: A key is missing, unknown or has a value that it cannot have.
        """
        unknown = sorted(content.keys() - set(_KEYS))
        if unknown:
            raise ValueError(f"study.{unknown[0]} is no key of a study: {', '.join(_KEYS)}")
        missing = [key for key in _KEYS if content.get(key) is None and key not in ("fixed", "budget")]
        if missing:
            raise ValueError(f"study.{missing[0]} has no value: a study needs {', '.join(_KEYS)}")
        return cls(
            name=str(content["name"]),
            title=str(content["title"]),
            base=_words(content, "base"),
            fixed=_words(content, "fixed"),
            budget=_words(content, "budget"),
            axes=tuple(_axis(str(name), node) for name, node in content["axes"].items()),
            base_cell={str(name): _text(level) for name, level in content["base_cell"].items()},
            seeds=tuple(content["seeds"]),
            postprocess=tuple(str(name) for name in content["postprocess"]),
        )

    def cells(self) -> list[Factors]:
        """Level of every axis, the selection of detections apart, for each training; the base comes first."""
        names = [axis.name for axis in self.axes]
        every = [dict(zip(names, levels, strict=True)) for levels in product(*(axis.levels for axis in self.axes))]
        base = {name: self.base_cell[name] for name in names}
        return [base, *(factors for factors in every if factors != base)]

    def words(self, factors: Factors, seed: int, extra: Iterable[str] = ()) -> list[str]:
        """The words of the ``deta train`` that does one run.

        Args:
            factors: A cell.
            seed: Its seed.
            extra: Overrides for every run of the study; a level wins over them.
        """
        levels = [word for axis in self.axes for word in axis.levels[factors[axis.name]]]
        selections = [f"+postprocess@evaluations.{name}={name}" for name in self.postprocess]
        settled = [*self.base, *self.fixed, *self.budget, *extra, *levels]
        return [*settled, *selections, f"seed={seed}", f"name={self.name}"]


@dataclass(frozen=True)
class PlannedRun:
    """A training that a study asks for.

    Attributes:
        folder: Name of its directory in that of the study.
        factors: Its cell.
        seed: Its seed.
        words: Of its ``deta train``.
    """

    folder: str
    factors: Factors
    seed: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A study and its runs, cell by cell, in each by seed."""

    study: Study
    runs: tuple[PlannedRun, ...]

    def write(self, folder: Path) -> None:
        """Write ``study.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / STUDY, _plain(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            FileNotFoundError: The folder holds no study.
            ValueError: Its record is damaged.
        """
        path = folder / STUDY
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no {STUDY}: it is not the folder of a study")
        content = read_json(path, _Written)
        runs = tuple(replace(run, words=tuple(present_words(run.words))) for run in content.runs)
        return cls(Study.from_config(content.study), runs)


@dataclass(frozen=True)
class _Written:
    study: dict[str, Any]
    runs: tuple[PlannedRun, ...]


def describe_cell(factors: Factors) -> str:
    """Such as ``stage1=one-to-one stage2=one-to-many``."""
    return " ".join(f"{name}={level}" for name, level in factors.items())


def _plain(plan: Plan) -> dict[str, Any]:
    study = asdict(plan.study)
    study["axes"] = {axis.name: {"keys": axis.keys, "levels": axis.levels} for axis in plan.study.axes}
    return {"study": study, "runs": [asdict(run) for run in plan.runs]}


def _axis(name: str, node: Any) -> PlannedAxis:  # noqa: ANN401 - a value of a file, which may be wrong
    if not isinstance(node, Mapping) or node.keys() != {"keys", "levels"}:
        raise ValueError(f"study.axes.{name} must have keys and levels, got {node!r}")
    keys = tuple(present for key in node["keys"] for present in present_keys(str(key)))
    levels = node["levels"]
    if isinstance(levels, Mapping):
        named = {_text(level): tuple(present_words(map(str, words))) for level, words in levels.items()}
    else:
        named = {_text(value): tuple(f"{key}={_text(value)}" for key in keys) for value in levels}
        if len(named) < len(levels):
            raise ValueError(f"study.axes.{name}.levels must differ, got {', '.join(_text(level) for level in levels)}")
    return PlannedAxis(name, keys, named)


def _words(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    words = content.get(key) or []
    if not isinstance(words, Sequence) or isinstance(words, str):
        raise ValueError(f"study.{key} must be a list of overrides, got {words!r}")
    return tuple(present_words(map(str, words)))


def _text(value: object) -> str:
    """A value as an override writes it."""
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def _require_distinct(name: str, values: Sequence[object]) -> None:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must be a list of different values, at least one, got {list(values)}")
