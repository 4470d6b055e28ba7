"""Names that the parts of a configuration had before: stored runs still use them, and keep their hashes by them."""

from collections.abc import Mapping
from typing import Any

MOVED: Mapping[str, str] = {
    "deta.engine.callbacks": "deta.training.callbacks",
    "deta.engine.evaluation": "deta.evaluation",
    "deta.engine.tracking": "deta.tracking.metrics",
    "deta.engine.wandb_tracker": "deta.tracking.wandb",
}
"""Modules by the name they had first."""
_FIRST = {present: former for former, present in MOVED.items()}


def present_target(target: str) -> str:
    """The dotted name that a class has now."""
    return _renamed(target, MOVED)


def first_target(target: str) -> str:
    """The dotted name that a class had first."""
    return _renamed(target, _FIRST)


def with_present_targets(node: Any) -> Any:  # noqa: ANN401 - plain containers
    """A stored configuration in which every ``_target_`` has its present name."""
    if isinstance(node, Mapping):
        return {
            name: present_target(value)
            if name == "_target_" and isinstance(value, str)
            else with_present_targets(value)
            for name, value in node.items()
        }
    return [with_present_targets(value) for value in node] if isinstance(node, list) else node


def _renamed(target: str, names: Mapping[str, str]) -> str:
    module, _, name = target.rpartition(".")
    return f"{names[module]}.{name}" if module in names else target
