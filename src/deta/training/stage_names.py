"""Names under which stages, losses and assignments are logged and stored."""

from collections.abc import Iterable

from deta.structures import StageKey

_NAMES = {"first": "proposals"}
_SINGLE = ("first", "dense")
"""Roles of one stage, which has no layers."""


def stage_name(key: StageKey) -> str:
    """Such as ``proposals``, ``layer3``, or ``denoise/layer3`` in a further group of queries."""
    if key.role == "layers" and key.copy is None:
        return "layers" if key.layer is None else f"layer{key.layer}"
    name = _NAMES.get(key.role, key.role) + ("" if key.copy is None else str(key.copy))
    return name if key.layer is None else f"{name}/layer{key.layer}"


def term_name(key: StageKey, term: str) -> str:
    """Such as ``layer3/giou``."""
    return f"{stage_name(key)}/{term}"


def assignment_names(keys: Iterable[StageKey]) -> dict[str, tuple[StageKey, ...]]:
    """Every assignment under the name by which it is reported; the copies of a group share theirs.

    That of the last decoder layer, or the one that all layers share, is ``layers``, ``<group>/layers`` in a further
    group. Where every layer is assigned anew, those of the others keep the names of their layers, such as ``layer0``.
    """
    found = list(keys)
    last: dict[str, int] = {}
    for key in found:
        if key.layer is not None:
            last[key.role] = max(key.layer, last.get(key.role, 0))
    named: dict[str, tuple[StageKey, ...]] = {}
    for key in found:
        name = _assignment_name(StageKey(key.role, key.layer), is_last=last.get(key.role) == key.layer)
        named[name] = (*named.get(name, ()), key)
    return named


def _assignment_name(key: StageKey, *, is_last: bool) -> str:
    if key.role in _SINGLE or not is_last:
        return stage_name(key)
    group = stage_name(StageKey(key.role))
    return group if group == "layers" else f"{group}/layers"
