"""Whether the cells of a study differ in what it declares, and in nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from deta.studies.plan import Factors, PlannedAxis, Study, describe_cell
from deta.studies.settings import ABSENT, differences, is_below, leaves

Config = Mapping[str, Any]
_NUM_NAMED = 8
"""Faults that a message names before it says how many more there are."""


def check_cells(study: Study, configs: Sequence[Config]) -> None:
    """Compare the composed configurations of a study's cells.

    Args:
        study: The study.
        configs: The part of the configuration that decides the result, for each of ``study.cells()`` at one seed.

    Raises:
        ValueError: A cell differs from the base in a key that no axis declares on which it has another level; or two
            cells are the same; or an axis declares a key that no cell has. All faults are named.
    """
    cells = study.cells()
    faults = [fault for axis in study.axes for fault in _unknown_keys(axis, configs)]
    for factors, config in zip(cells[1:], configs[1:], strict=True):
        faults += undeclared_differences(study.axes, cells[0], configs[0], factors, config)
    faults += _equal_cells(cells, configs)
    if faults:
        more = f"\n  and {len(faults) - _NUM_NAMED} more" if len(faults) > _NUM_NAMED else ""
        listed = "".join(f"\n  {fault}" for fault in faults[:_NUM_NAMED])
        raise ValueError(f"study {study.name} compares more or less than it declares:{listed}{more}")


def undeclared_differences(
    axes: Sequence[PlannedAxis], base: Factors, base_config: Config, factors: Factors, config: Config
) -> list[str]:
    """Differences of a cell to the base outside the keys of the axes on which their levels differ, in words."""
    varied = [axis for axis in axes if factors[axis.name] != base[axis.name]]
    allowed = tuple(key for axis in varied for key in axis.keys)
    return [
        f"{key} is {_show(value)} in the cell {describe_cell(factors)}, but {_show(before)} in the base, and "
        f"{' and '.join(f'study.axes.{axis.name}.keys' for axis in varied)} does not declare it"
        for key, (before, value) in differences(base_config, config).items()
        if not is_below(key, allowed)
    ]


def _unknown_keys(axis: PlannedAxis, configs: Sequence[Config]) -> list[str]:
    known = [key for config in configs for key, _ in leaves(config)]
    return [
        f"study.axes.{axis.name}.keys: {key} is no key of any cell that has an effect"
        for key in axis.keys
        if not any(is_below(name, (key,)) for name in known)
    ]


def _equal_cells(cells: Sequence[Factors], configs: Sequence[Config]) -> list[str]:
    return [
        f"the cells {describe_cell(cells[first])} and {describe_cell(cells[second])} are the same training"
        for second in range(len(cells))
        for first in range(second)
        if configs[first] == configs[second]
    ]


def _show(value: object) -> str:
    return "absent" if value is ABSENT else repr(value)
