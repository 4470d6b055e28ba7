"""Configurations out of files: plain values alone, of bounded size."""

from pathlib import Path
from typing import Any

_MAX_VALUES, _MAX_DEPTH = 100_000, 50
"""Bounds of a stored configuration."""


def plain_copy(config: dict[Any, Any], path: Path) -> dict[str, Any]:
    """A copy in dictionaries and lists, of bounded size: a file can hold one list a million times over.

    Args:
        config: As it was read.
        path: The file, for messages.

    Raises:
        ValueError: It is larger, or holds other than plain values.
    """
    num_values = 0

    def copied(node: Any, depth: int) -> Any:  # noqa: ANN401 - out of a file
        nonlocal num_values
        num_values += 1
        if num_values > _MAX_VALUES or depth > _MAX_DEPTH:
            raise ValueError(f"{path}: its configuration has more than {_MAX_VALUES} values or {_MAX_DEPTH} levels")
        if isinstance(node, dict) and all(is_text(key) or type(key) is int for key in node):
            return {key: copied(value, depth + 1) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [copied(value, depth + 1) for value in node]
        if node is None or type(node) in (bool, int, float) or is_text(node):
            return node
        raise ValueError(f"{path}: its configuration must hold plain values, got {type(node).__name__}")

    plain: dict[str, Any] = copied(config, 0)
    return plain


def is_text(value: object) -> bool:
    """Whether it is text that can be written; lone halves of surrogate pairs cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
