"""Names of cells."""

import pytest

from deta.studies.labels import is_base, label, level_of, shown_axes
from deta.studies.results import Axis, Cell, Comparison


def cell(postprocess: str = "nms", **factors: str) -> Cell:
    return Cell(factors, postprocess, (), {}, None)


def comparison(*cells: Cell, base: dict[str, str], axes: tuple[Axis, ...] = ()) -> Comparison:
    return Comparison("", "", axes, cells, base, ())


TWO_SELECTIONS = comparison(
    cell(tau="0.6"), cell("topk", tau="0.6"), cell(tau="0.5"), cell("topk", tau="0.5"), base={"tau": "0.6"}
)


def test_a_label_says_what_differs_from_the_base() -> None:
    cells = (cell(tau="0.6", n="4"), cell(tau="0.5", n="4"), cell(tau="0.5", n="1"))
    whole = comparison(*cells, base={"tau": "0.6", "n": "4"})
    assert [label(whole, each) for each in cells] == ["base", "tau=0.5", "tau=0.5, n=1"]


def test_a_label_names_the_selection_where_there_are_several() -> None:
    labels = [label(TWO_SELECTIONS, each) for each in TWO_SELECTIONS.cells]
    assert labels == ["base, nms", "base, topk", "tau=0.5, nms", "tau=0.5, topk"]


def test_a_selection_that_the_base_leaves_open_has_a_base_of_its_own() -> None:
    assert [is_base(TWO_SELECTIONS, each) for each in TWO_SELECTIONS.cells] == [True, True, False, False]


def test_a_selection_that_is_a_factor_stands_once_in_the_label_and_decides_the_base() -> None:
    cells = [Cell({"tau": "0.6", "postprocess": name}, name, (), {}, None) for name in ("nms", "topk")]
    whole = comparison(*cells, base={"tau": "0.6", "postprocess": "nms"})
    assert [label(whole, each) for each in cells] == ["base, nms", "base, topk"]
    assert [is_base(whole, each) for each in cells] == [True, False]
    assert [axis.name for axis in shown_axes(whole)] == ["tau", "postprocess"]


def test_axes_keep_the_declared_order_and_gain_what_was_not_declared() -> None:
    axes = (Axis("tau", ("key",), ("0.7", "0.5")),)
    whole = comparison(cell(tau="0.5", lr="1"), cell("topk", tau="0.6", lr="2"), base={}, axes=axes)
    assert [(axis.name, axis.levels) for axis in shown_axes(whole)] == [
        ("tau", ("0.7", "0.5", "0.6")),
        ("lr", ("1", "2")),
        ("postprocess", ("nms", "topk")),
    ]


@pytest.mark.parametrize(("axis", "expected"), [("tau", "0.5"), ("postprocess", "nms"), ("n", None)])
def test_the_level_of_a_cell(axis: str, expected: str | None) -> None:
    assert level_of(cell(tau="0.5"), axis) == expected


def test_one_selection_is_no_axis() -> None:
    assert shown_axes(comparison(cell(tau="1"), base={}))[-1].name == "tau"
