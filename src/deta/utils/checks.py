"""Checks of constructor arguments; each failure names the argument, the rule and the value."""

import re
from collections.abc import Collection, Sequence


def require_int(name: str, value: object, *, low: int | None = None, high: int | None = None) -> int:
    """Return ``value`` if it is an integer in ``low..high``, else raise ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    _require_range(name, value, low, high)
    return value


def require_number(name: str, value: object, *, low: float | None = None, high: float | None = None) -> float:
    """Return ``value`` as float if it is a finite number in ``low..high``, else raise ``ValueError``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{name} must be finite, got {value!r}")
    _require_range(name, value, low, high)
    return float(value)


def require_bool(name: str, value: object) -> bool:
    """Return ``value`` if it is a boolean, else raise ``ValueError``."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return value


def require_list(name: str, value: object) -> Sequence[object]:
    """Return ``value`` if it is a sequence other than a text, else raise ``ValueError``."""
    if isinstance(value, str):
        raise ValueError(f"{name} must be a list: write {name}=[{value}], got {value!r}")
    if not isinstance(value, Sequence):
        raise ValueError(f"{name} must be a list, got {value!r}")
    return value


def require_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise ``ValueError``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}, got {value!r}")
    return str(value)


def require_folder_name(name: str, value: object) -> str:
    """Return ``value`` if it names a folder inside of another on every file system, else raise ``ValueError``."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", value):
        raise ValueError(
            f"{name} must be the name of a folder (letters, digits, '.', '_' and '-', at most 100, no dot first), "
            f"got {value!r}"
        )
    return value


def require_callable(name: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` can be called, as what a ``_target_`` makes."""
    if not callable(value):
        raise ValueError(f"{name} must be something to call (a node with _target_), got {value!r}")


def _require_range(name: str, value: float, low: float | None, high: float | None) -> None:
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"in [{low}, {high}]" if high is not None and low is not None else f"at least {low}"
        if low is None:
            bounds = f"at most {high}"
        raise ValueError(f"{name} must be {bounds}, got {value!r}")
