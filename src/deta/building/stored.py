"""Building what a configuration out of a file describes: classes of a computed list, and nothing else.

Hydra, which builds what a command line describes, never sees such a configuration: text in it is text, and what is
built is looked up, not imported by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pkgutil import resolve_name
from typing import Any

import yaml

from deta.building.reach import far_settings, require_near
from deta.building.trust import Trust, may_be_of_the_user
from deta.studies.conf import config_dir
from deta.training.checkpoint import Checkpoint

TARGET, PARTIAL = "_target_", "_partial_"
PLACES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "model": (
        "model",
        (
            *("model", "backbone", "neck", "encoder", "queries", "selection", "decoder", "further"),
            *("priors", "codec", "dense_head", "region_head", "assigner"),
        ),
    ),
    "data": ("data", ("augment",)),
    "data.val_transform": ("augment", ("augment",)),
    "postprocess": ("postprocess", ("score",)),
    "evaluator": ("evaluator", ()),
}
"""Part of a configuration: the group of ``conf/`` that says what may stand there, and those for what is inside."""


@dataclass(frozen=True)
class _Part:
    """A class that is to be built and what it gets."""

    key: str
    make: type
    is_partial: bool
    arguments: Mapping[str, Any]


def build(config: Any, place: str, trust: Trust, **arguments: Any) -> Any:  # noqa: ANN401 - plain containers in, whatever they describe out
    """Build a part of a stored configuration.

    Args:
        config: Plain containers, as ``Checkpoint.config`` has them.
        place: Which part it is, see ``PLACES``.
        trust: Of the user in the file.
        arguments: Further ones of the outermost class; they win.

    Raises:
        ValueError: The configuration names anything that may not stand in this place, before anything is built; or
            a class refuses what it is given; or a value reaches further, see ``far_settings``.
    """
    part = _admit(config, place, place, trust)
    require_near(config, place, trust)
    if not isinstance(part, _Part):
        raise ValueError(f"{trust.source}: {place} names nothing to build: {_shown(config)}")
    return _make(part, trust, arguments)


def section(checkpoint: Checkpoint, place: str) -> Any:  # noqa: ANN401 - plain containers
    """A part of the stored configuration.

    Raises:
        ValueError: It has none.
    """
    node: Any = checkpoint.config
    for name in place.split("."):
        if not isinstance(node, Mapping) or name not in node:
            raise ValueError(f"{checkpoint.path} does not say with which {place} it was trained")
        node = node[name]
    return node


def needs_trust(config: Mapping[str, Any]) -> set[str]:
    """What a checkpoint of this configuration needs trust for in the parts that are built from it.

    Names of classes that no shipped configuration has there, and ``far_settings``.
    """
    found: set[str] = set()
    for place in ("model", "data", "postprocess", "evaluator"):
        found |= far_settings(config.get(place), place).keys()
        outermost, inside = _allowed(place)
        known = {name for name, _ in outermost | inside}
        found |= {str(node[TARGET]) for node, _ in _nodes(config.get(place)) if str(node[TARGET]) not in known}
    return found


def _admit(node: Any, key: str, place: str, trust: Trust) -> Any:  # noqa: ANN401 - plain containers
    """The same containers with a ``_Part`` for every node that names a class."""
    if isinstance(node, str) and "${" in node:
        raise ValueError(f"{trust.source}: {key} holds {_shown(node)}: a file interpolates nothing")
    if isinstance(node, list):
        return [_admit(value, f"{key}[{index}]", place, trust) for index, value in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    is_partial = node.get(PARTIAL, False)
    make = _class(node[TARGET], is_partial, key, place, trust) if TARGET in node else None
    others = {name: value for name, value in node.items() if make is None or name not in (TARGET, PARTIAL)}
    reserved = next((name for name in others if _is_reserved(name)), None)
    if reserved is not None:
        raise ValueError(f"{trust.source}: {key} has {_shown(reserved)}, which a file may not have there")
    values = {name: _admit(value, f"{key}.{name}", place, trust) for name, value in others.items()}
    return values if make is None else _Part(key, make, is_partial, values)


def _is_reserved(name: object) -> bool:
    """Keys that Hydra takes for itself, and what could pass for one."""
    return str(name).startswith("_") or "${" in str(name)


def _class(target: Any, is_partial: Any, key: str, place: str, trust: Trust) -> type:  # noqa: ANN401 - out of a file
    outermost, inside = _allowed(place)
    if isinstance(target, str) and isinstance(is_partial, bool):
        if (target, is_partial) in (outermost if key == place else inside):
            shipped: type = resolve_name(target)
            return shipped
        if trust.covers(target):
            return trust.resolve(target)
    what = f"{_shown(target)}{'' if is_partial is False else f' with {PARTIAL}: {_shown(is_partial)}'}"
    message = f"{trust.source}: {key} wants to build {what}, which is not among what a file may build there"
    if isinstance(target, str) and isinstance(is_partial, bool) and may_be_of_the_user(target):
        message += f". Only if you know whose class that is and what it does: trusted=[{target}]"
    raise ValueError(message)


def _make(part: _Part, trust: Trust, further: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever it is
    arguments = {name: _make_inside(value, trust) for name, value in part.arguments.items()} | dict(further)
    if part.is_partial:
        return partial(part.make, **arguments)
    try:
        return part.make(**arguments)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # a constructor of ours trusts that a part is of its kind; a file is not to be trusted with that
        raise ValueError(f"{trust.source}: {part.key} cannot be built as stored: {error}") from error


def _make_inside(node: Any, trust: Trust) -> Any:  # noqa: ANN401 - as above
    if isinstance(node, _Part):
        return _make(node, trust, {})
    if isinstance(node, list):
        return [_make_inside(value, trust) for value in node]
    if isinstance(node, dict):
        return {name: _make_inside(value, trust) for name, value in node.items()}
    return node


@lru_cache
def _allowed(place: str) -> tuple[frozenset[tuple[str, bool]], frozenset[tuple[str, bool]]]:
    """Names with whether they are partial: what may stand in a place, and what inside of it."""
    group, groups_inside = PLACES[place]
    outermost = frozenset(_description(node) for node, depth in _shipped(group) if depth == 0)
    inside = frozenset(_description(node) for each in groups_inside for node, _ in _shipped(each)) - outermost
    return outermost or inside, inside  # files of augment/ name nothing at their top, and transforms nest freely


def _description(node: Mapping[str, Any]) -> tuple[str, bool]:
    return str(node[TARGET]), bool(node.get(PARTIAL, False))


def _shipped(group: str) -> Iterator[tuple[Mapping[str, Any], int]]:
    for path in sorted((config_dir() / group).glob("*.yaml")):
        yield from _nodes(yaml.safe_load(path.read_text(encoding="utf-8")))


def _nodes(content: Any, depth: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:  # noqa: ANN401 - plain containers
    """Every mapping that names something to build, with its depth."""
    if isinstance(content, Mapping) and TARGET in content:
        yield content, depth
    values = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    for value in values:
        yield from _nodes(value, depth + 1)


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 80 else f"{text[:80]}...") if not text.isidentifier() else text
