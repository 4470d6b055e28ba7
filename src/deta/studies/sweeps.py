"""Runs that no study declared: which settings tell them apart."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deta.runs.cells import find_cell, read_cells, values_of
from deta.runs.folders import find_runs
from deta.runs.state import is_pruned
from deta.studies.notes import (
    damaged_files,
    different_data,
    different_machines,
    different_starts,
    later_settings,
    missing_runs,
    unevaluated_runs,
)
from deta.studies.records import Record, read_record, with_own_scores, with_planned
from deta.studies.results import Axis
from deta.studies.settings import ABSENT, chosen_by, is_below, leaves
from deta.utils.wording import counted

DATA_SET = "data_set"
"""Name of the axis of runs that were trained with different data."""
_APART = ("seed", "data.seed", "postprocess")
"""Settings that are no axis: runs of a cell differ in the seeds, and the selection of detections stands beside."""

Compose = Callable[[Sequence[str]], Mapping[str, Any] | None]
"""The resolved configuration of the training with these words; None where they make none any more."""


@dataclass(frozen=True)
class Sweep:
    """Runs in groups of equal settings.

    Attributes:
        axes: The fewest settings that tell the groups apart.
        groups: Levels, selection of detections and runs of every group, in the order in which the sweep names them;
            those of which no run has started come last.
        notes: See ``Comparison``.
        beyond: What else differs along an axis, see ``Comparison``.
    """

    axes: tuple[Axis, ...]
    groups: tuple[tuple[Mapping[str, str], str, tuple[Record, ...]], ...]
    notes: tuple[str, ...]
    beyond: tuple[str, ...]


def group_sweep(folder: Path, compose: Compose) -> Sweep:
    """Group the runs at and below a folder by their settings.

    Runs that a search has pruned are left out: their scores are not those of a whole training.

    Args:
        folder: The folder.
        compose: Tells the settings of cells that have not started.

    Raises:
        ValueError: None of them has started, the pruned ones apart.
    """
    order = {name: number for number, name in enumerate(read_cells(folder))}
    paths = sorted(find_runs(folder), key=lambda path: order.get(str(path.relative_to(folder)), len(order)))
    whole = [path for path in paths if not is_pruned(path)]
    records = [with_own_scores(read_record(path, factors={})) for path in whole]
    waiting = {record.run.folder for record in records if not record.configs}
    if len(waiting) == len(records):
        raise ValueError(f"{folder} holds no run that has started and was not pruned, so there is nothing to compare")
    planned = [_planned(record, compose) if record.run.folder in waiting else record for record in records]
    known = _apart_by_data([record for record in planned if record.configs])
    members: dict[str, list[Record]] = {}
    for record in known:
        key = json.dumps([_settings(record), record.postprocess], sort_keys=True, default=str)
        members.setdefault(key, []).append(record)
    groups = list(members.values())
    words = [_shared_words(group) for group in groups]
    settings = [_settings(group[0]) for group in groups]
    choices = _choices(words, settings)
    for each, own in zip(settings, words, strict=True):
        each |= {name: own[name] for name in choices}
    axes = _axes(settings, choices)
    composed = [_settings(_planned(group[0], compose)) for group in groups] if choices else []
    beyond = [*_also_different(axes, settings, choices, _as_composed(words, settings, composed))]
    beyond += [*different_starts(known), *later_settings(known), *different_data(known)]
    cells = list(zip(groups, settings, strict=True))
    cells.sort(key=lambda cell: all(record.run.folder in waiting for record in cell[0]))
    named = []
    for group, own in cells:
        factors = {axis.name: shown_level(own.get(axis.keys[0], ABSENT)) for axis in axes}
        runs = tuple(replace(record, run=replace(record.run, factors=factors)) for record in group)
        named.append((factors, str(group[0].postprocess), tuple(sorted(runs, key=lambda record: record.run.seed))))
    num_pruned, num_waiting = len(paths) - len(whole), len(records) - len(known)
    all_runs = [record for _, _, runs in named for record in runs]
    notes = [f"{counted(num_pruned, 'trial')} left out, ended early by the pruner"] if num_pruned else []
    notes += [f"{counted(num_waiting, 'run')} left out, not started"] if num_waiting else []
    notes += [
        *missing_runs(all_runs),
        *unevaluated_runs(all_runs),
        *damaged_files(records),
        *different_machines(all_runs),
    ]
    return Sweep(axes, tuple(named), tuple(notes), tuple(beyond))


def _shared_words(records: Sequence[Record]) -> dict[str, str]:
    """What a sweep gave all these runs, by key; nothing where no sweep lists one of them."""
    given = [values_of(find_cell(record.run.folder) or ()) for record in records]
    return {key: value for key, value in given[0].items() if all(each.get(key) == value for each in given)}


def _choices(words: Sequence[Mapping[str, str]], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys of words that choose a whole part, such as ``system``, and in which the cells of a sweep differ."""
    keys = [key for key in words[0] if key not in _APART and not any(key in each for each in settings)]
    return [key for key in keys if all(key in own for own in words) and len({own[key] for own in words}) > 1]


def _as_composed(
    words: Sequence[Mapping[str, str]],
    settings: Sequence[Mapping[str, Any]],
    composed: Sequence[Mapping[str, Any]],
) -> set[str]:
    """Keys that a choice may set: no word gives them, and the cells have what their words make of them."""
    keys = {key for own in settings for key in own} - {key for own in words for key in own}
    pairs = list(zip(settings, composed, strict=False))  # nothing is composed where there is no choice
    return {key for key in keys if key == DATA_SET or all(a.get(key, ABSENT) == b.get(key, ABSENT) for a, b in pairs)}


def _also_different(
    axes: Sequence[Axis],
    settings: Sequence[Mapping[str, Any]],
    choices: Collection[str],
    of_choices: Collection[str],
) -> Iterator[str]:
    """Settings that go along with an axis and do not belong to it; those in ``of_choices`` belong to any choice."""
    for axis in axes:
        first, *others = axis.keys
        belongs = of_choices if first in choices else {key for key in others if _belongs(key, first, settings)}
        apart = [key for key in others if key not in belongs]
        if apart:
            yield f"along {axis.name} also {', '.join(apart)} differ: no difference is owed to {axis.name} alone"


def _belongs(key: str, first: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a key is an argument of the class that ``first`` chooses, or always has its value under the same name."""
    if first.endswith("_target_") and key.startswith(first.removesuffix("_target_")):
        return True
    is_named_alike = key.rpartition(".")[2] == first.rpartition(".")[2]
    return is_named_alike and all(each.get(key, ABSENT) == each.get(first, ABSENT) for each in settings)


def _planned(record: Record, compose: Compose) -> Record:
    """A run that has not started with the settings that its words make; as it is where they are not known."""
    words = find_cell(record.run.folder)
    config = None if words is None else compose(words)
    return record if config is None else with_planned(record, config)


def _apart_by_data(records: Sequence[Record]) -> list[Record]:
    """With the data set as a setting where there are several, so that no cell holds runs of two."""
    if len({record.data.digest for record in records if record.data is not None}) < 2:
        return list(records)
    return [
        replace(record, configs=tuple({**each, DATA_SET: _digest(record)} for each in record.configs))
        for record in records
    ]


def _digest(record: Record) -> str:
    return "unknown" if record.data is None else record.data.digest


def _settings(record: Record) -> dict[str, Any]:
    """Dotted keys and values in which a run may differ from another cell."""
    return {key: value for key, value in leaves(record.configs[0]) if not is_below(key, _APART)}


def _axes(settings: Sequence[Mapping[str, Any]], choices: Sequence[str]) -> tuple[Axis, ...]:
    """The first settings that tell more groups apart, until all are; the others follow from them.

    Choices of a sweep come first, then which class is built, since the rest follows from them.
    """
    keys = dict.fromkeys(key for each in settings for key in each)
    varied = [key for key in keys if len({shown_level(each.get(key, ABSENT)) for each in settings}) > 1]
    varied.sort(key=lambda key: (key not in choices, not key.endswith("_target_")))
    chosen: dict[str, list[str]] = {}
    for key in varied:
        owner = next((name for name in chosen if _follows(key, name, settings)), None)
        if owner is not None:
            chosen[owner].append(key)
        elif _num_groups([*chosen, key], settings) > _num_groups(list(chosen), settings):
            chosen[key] = [key]
    names = _short(list(chosen))
    return tuple(
        Axis(name, tuple(keys), tuple(dict.fromkeys(shown_level(each.get(keys[0], ABSENT)) for each in settings)))
        for name, keys in zip(names, chosen.values(), strict=True)
    )


def _follows(key: str, other: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the value of ``other`` decides that of ``key``."""
    pairs = {(shown_level(each.get(other, ABSENT)), shown_level(each.get(key, ABSENT))) for each in settings}
    return len(pairs) == len({value for value, _ in pairs})


def _num_groups(keys: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> int:
    return len({tuple(shown_level(each.get(key, ABSENT)) for key in keys) for each in settings})


def _short(keys: Sequence[str]) -> list[str]:
    """The last word of each key, with the one before it where two end alike; of a class, what it is built for."""
    parts = [key.removesuffix("._target_").split(".") for key in keys]
    last = [words[-1] for words in parts]
    return [".".join(words[-2:]) if last.count(words[-1]) > 1 else words[-1] for words in parts]


def shown_level(value: object) -> str:
    """A value of a setting as a level of an axis: as it is written, a class of ours by the word that chooses it."""
    if value is ABSENT:
        return "-"
    if isinstance(value, str):
        return chosen_by().get(value, value.rpartition(".")[2]) if value.startswith("deta.") else value
    return json.dumps(value, default=str)
