"""Names of the cells of a comparison for people: their levels on every axis, and what differs from the base."""

from deta.studies.results import Axis, Cell, Comparison

POSTPROCESS = "postprocess"
"""Axis of the selection of detections, which costs no training."""


def shown_axes(comparison: Comparison) -> tuple[Axis, ...]:
    """The axes with every level that a cell has, in the order of declaration.

    Factors that no axis declares come last, and the selection of detections too where there are several.
    """
    declared = {axis.name: axis for axis in comparison.axes}
    names = [*declared, *(name for cell in comparison.cells for name in cell.factors)]
    if len({cell.postprocess for cell in comparison.cells}) > 1:
        names.append(POSTPROCESS)
    axes = []
    for name in dict.fromkeys(names):
        axis = declared.get(name, Axis(name, (), ()))
        found = [level for cell in comparison.cells if (level := level_of(cell, name)) is not None]
        axes.append(Axis(name, axis.keys, tuple(dict.fromkeys([*axis.levels, *found]))))
    return tuple(axes)


def level_of(cell: Cell, axis: str) -> str | None:
    """Level of a cell on an axis; None where it has none."""
    return cell.factors.get(axis, cell.postprocess if axis == POSTPROCESS else None)


def is_base(comparison: Comparison, cell: Cell) -> bool:
    """Whether others are compared with this cell; a base that leaves the selection of detections open has several."""
    return all(level_of(cell, axis) == level for axis, level in comparison.base.items())


def label(comparison: Comparison, cell: Cell) -> str:
    """What differs from the base, such as ``tau=0.5, n=1``; ``base`` for the base itself.

    Where several selections of detections are reported, one that the base does not fix is always named.
    """
    differing = [
        f"{axis.name}={level}"
        for axis in shown_axes(comparison)
        if (level := level_of(cell, axis.name)) is not None
        and axis.name != POSTPROCESS
        and level != comparison.base.get(axis.name)
    ]
    words = ", ".join(differing) or "base"
    return f"{words}, {cell.postprocess}" if has_selections(comparison) else words


def has_selections(comparison: Comparison) -> bool:
    """Whether several selections of detections are reported."""
    return len({cell.postprocess for cell in comparison.cells}) > 1
