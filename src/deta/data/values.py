"""What counts as an id and as a number in an annotation file."""

from typing import TypeGuard


def is_id(value: object) -> TypeGuard[int]:
    """Whether it is an integer of 64 bits; a truth value is none."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_number(value: object) -> bool:
    """Whether it is an integer or a float, NaN and infinity included."""
    return type(value) is int or type(value) is float
