"""Words of messages."""

import math

POINTS = 100
"""Scores are kept in 0..1, in files too, and told to people in points."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, such as ``1 run`` and ``0 runs``.

    Args:
        number: How many.
        noun: Of one.
        plural: Of none or several; None adds an ``s``.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def points(score: float, *, has_sign: bool = False) -> str:
    """A score or a difference of scores, which are in 0..1, in points such as ``31.34``; ``-`` for NaN."""
    return "-" if math.isnan(score) else f"{POINTS * score:{'+' if has_sign else ''}.2f}"


def told(metric: str, value: float) -> str:
    """A value of a metric by its name: scores, which are ``AP`` or ``AR`` of some kind, in points."""
    return points(value) if metric.rpartition("/")[2].startswith(("AP", "AR")) else f"{value:.4f}"
