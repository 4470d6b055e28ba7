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


def assignment_names(keys: Iterable[StageKey]) -> dict[str, StageKey]:
    """Every assignment under the name by which it is reported.

    That of the last decoder layer, or the one that all layers share, is ``layers``, ``<group>/layers`` in a further
    group. Where every layer is assigned anew, those of the others keep the names of their layers, such as ``layer0``.
    """
    found = list(keys)
    last: dict[tuple[str, int | None], int] = {}
    for key in found:
        if key.layer is not None:
            group = (key.role, key.copy)
            last[group] = max(key.layer, last.get(group, 0))
    return {_assignment_name(key, is_last=last.get((key.role, key.copy)) == key.layer): key for key in found}


def _assignment_name(key: StageKey, *, is_last: bool) -> str:
    if key.role in _SINGLE or not is_last:
        return stage_name(key)
    group = stage_name(StageKey(key.role, None, key.copy))
    return group if group == "layers" else f"{group}/layers"
