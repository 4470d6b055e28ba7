"""The lint refuses what a study does not declare, and names it."""

import copy
from typing import Any

import pytest

from deta.studies.lint import check_cells
from tests.studies.declared import study

BASE: dict[str, Any] = {
    "seed": 0,
    "criterion": {"rules": {"first": {"assigner": {"_target_": "Many", "n": 4}}, "layers": {"assigner": {"tau": 0.6}}}},
    "data": {"batch_size": 2},
    "model": {"frozen": ["a"]},
}


def configs() -> list[dict[str, Any]]:
    """Those of the study's four cells, as declared."""
    made = [copy.deepcopy(BASE) for _ in range(4)]
    for index in (1, 2):
        made[index]["criterion"]["rules"]["layers"]["assigner"]["tau"] = 0.5
    for index in (2, 3):
        made[index]["criterion"]["rules"]["first"]["assigner"] = {"_target_": "One", "weight": 2.0}
    return made


def test_cells_that_differ_as_declared_pass() -> None:
    check_cells(study(), configs())


@pytest.mark.parametrize(
    ("cell", "node", "name", "value", "message"),
    [
        (1, "data", "batch_size", 4, r"data\.batch_size is 4 in the cell tau=0\.5 rule=many, but 2 in the base"),
        (2, "model", "frozen", [], r"model\.frozen is \[\] in the cell tau=0\.5 rule=one, but \['a'\] in the base"),
        (3, "data", "root", "x", r"data\.root is 'x' in the cell tau=0\.6 rule=one, but absent in the base"),
    ],
)
def test_an_undeclared_difference_is_named(cell: int, node: str, name: str, value: object, message: str) -> None:
    made = configs()
    made[cell][node][name] = value
    with pytest.raises(ValueError, match=message):
        check_cells(study(), made)


def test_a_key_of_an_axis_may_differ_only_where_its_level_does() -> None:
    made = configs()
    made[3]["criterion"]["rules"]["layers"]["assigner"]["tau"] = 0.55  # this cell has the base's tau
    expected = (
        r"layers\.assigner\.tau is 0\.55 .*, but 0\.6 in the base, and study\.axes\.rule\.keys does not declare it"
    )
    with pytest.raises(ValueError, match=expected):
        check_cells(study(), made)


def test_a_level_that_changes_nothing_is_refused() -> None:
    made = configs()
    made[1] = copy.deepcopy(made[0])
    with pytest.raises(ValueError, match=r"the cells tau=0\.6 rule=many and tau=0\.5 rule=many are the same"):
        check_cells(study(), made)


def test_a_declared_key_that_no_cell_has_is_refused() -> None:
    axes = {"tau": {"keys": ["criterion.layer_asigner.tau"], "levels": [0.5, 0.6]}}
    with pytest.raises(ValueError, match=r"study\.axes\.tau\.keys: criterion\.layer_asigner\.tau is no key of any"):
        check_cells(study(axes=axes, base_cell={"tau": 0.6}), configs()[:2])


def test_many_faults_are_counted() -> None:
    made = configs()
    made[1]["more"] = {f"key{number}": number for number in range(20)}
    with pytest.raises(ValueError, match=r"and 12 more$"):
        check_cells(study(), made)
