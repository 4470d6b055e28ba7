"""Which part of a configuration decides a result, and where two configurations differ in it."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from deta.runs.former import first_target
from deta.studies.conf import config_dir

_MARKED = re.compile(r"^(?:  - )?(\w+):.* # @(\w+)", re.MULTILINE)
_MOUNT = re.compile(r"^  - (?:override )?/(\w+)@([a-z][\w.]*):", re.MULTILINE)
_TARGET = re.compile(r"^_target_: (deta\.\S+)", re.MULTILINE)
MISSING = "???"
"""A value that must still be given."""


class _Absent(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absent.ABSENT
"""Stands for the value of a key that a configuration does not have."""


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that decides the result.

    Folders of its ``paths`` are named, not spelt out: another machine gives the same.
    """
    folders = {str(folder): f"${{paths.{name}}}" for name, folder in config.get("paths", {}).items()}
    decisive: dict[str, Any] = _pruned(config, "", folders)
    return decisive


@cache
def without_effect() -> frozenset[str]:
    """Keys that decide where and how a run is done, not what comes out: ``by_reference``, and those marked in ``conf``.

    The mark is ``# @unnamed`` behind an option of a group, or behind an option or a whole group of ``train.yaml``.
    """
    return frozenset({*by_reference(), *(key for mark, key, _ in _all_marks() if mark == "unnamed")})


@cache
def by_reference() -> frozenset[str]:
    """Parts that act only where others refer to them, and are part of a result there: groups marked so in ``conf``."""
    return frozenset(path.parent.name for mark, _, path in _all_marks() if mark == "by_reference")


@cache
def _first_values() -> Mapping[str, object]:
    """Options that came when runs had names already, ``# @unnamed_as_here``: no part of them at these values."""
    return {
        key: yaml.safe_load(path.read_text(encoding="utf-8"))[key.rpartition(".")[2]]
        for mark, key, path in _all_marks()
        if mark == "unnamed_as_here"
    }


@cache
def _all_marks() -> tuple[tuple[str, str, Path], ...]:
    """Every mark with the key of a whole configuration behind which it stands, and the file."""
    folder, places = config_dir(), _places()
    files = {folder / "train.yaml": {""}}
    files |= {path: places.get(path.parent.name, {path.parent.name}) for path in folder.glob("*/*.yaml")}
    return tuple(
        (mark, f"{place}.{name}" if place else name, path)
        for path, known in files.items()
        for name, mark in marks(path)
        for place in known
    )


def _places() -> Mapping[str, set[str]]:
    """Where the groups of parts of a model stand, whose names do not say it."""
    places: dict[str, set[str]] = {}
    for path in (config_dir() / "model").glob("*.yaml"):
        for group, target in _MOUNT.findall(path.read_text(encoding="utf-8")):
            places.setdefault(group, set()).add(f"model.{target}")
    return places


@cache
def chosen_by() -> dict[str, str]:
    """Class of ours to the choice that makes it, such as ``hungarian``, where that is one alone in all groups."""
    names: dict[str, set[str]] = {}
    for path in config_dir().glob("*/*.yaml"):
        for target in _TARGET.findall(path.read_text(encoding="utf-8")):
            names.setdefault(first_target(target), set()).add(path.stem)
    return {target: next(iter(found)) for target, found in names.items() if len(found) == 1}


def marks(path: Path) -> list[tuple[str, str]]:
    """Options of a file, or groups of its defaults list, behind which there is a mark ``# @<mark>``, with that."""
    return _MARKED.findall(path.read_text(encoding="utf-8"))


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - containers of any depth
    """Dotted keys and values of nested dictionaries; lists and empty dictionaries are values."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def is_below(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of these, or stands inside one."""
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which two configurations differ, with both values; ``ABSENT`` where one has no such key."""
    before, after = dict(leaves(first)), dict(leaves(second))
    keys = (*after, *(key for key in before if key not in after))
    pairs = {key: (before.get(key, ABSENT), after.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if ABSENT in pair or pair[0] != pair[1]}


def told(changes: Mapping[str, tuple[object, object]]) -> str:
    """What ``differences`` has found, as words for a message."""
    return ", ".join(f"{key} {_shown_value(before)} -> {_shown_value(now)}" for key, (before, now) in changes.items())


def _pruned(node: Any, key: str, folders: Mapping[str, str]) -> Any:  # noqa: ANN401 - containers of any depth
    if isinstance(node, Mapping):
        paths = {str(name): f"{key}.{name}" if key else str(name) for name in node}
        return {
            name: _pruned(node[name], path, folders)
            for name, path in paths.items()
            if path not in without_effect() and node[name] != _first_values().get(path, ABSENT)
        }
    if isinstance(node, list):
        return [_pruned(item, key, folders) for item in node]
    if isinstance(node, str) and key.endswith("._target_"):
        return first_target(node)
    if isinstance(node, str):
        for folder, name in folders.items():
            if node.startswith(f"{folder}/"):
                return name + node.removeprefix(folder)
    return node


def _shown_value(value: object) -> str:
    return "absent" if value is ABSENT else str(value)
