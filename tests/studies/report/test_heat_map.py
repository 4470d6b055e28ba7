"""Two axes at a time."""

from dataclasses import replace

import pytest

from deta.studies.report.heat_map import heat_map
from deta.studies.results import Cell, Comparison, Difference, Verdict
from tests.studies.report.making import cell, comparison

AXES = ("tau", "n")


def grid(*cells: Cell, axes: tuple[str, ...] = AXES) -> Comparison:
    return comparison(*cells, base=cells[0].factors, axes=axes)


def test_scores_lie_at_their_levels_and_gaps_stay_open() -> None:
    whole = grid(cell(0.3, tau="0.6", n="4"), cell(0.2, tau="0.5", n="4"), cell(0.1, tau="0.6", n="1"))
    view = heat_map(whole).views[0]
    assert view.choice == ("tau x n", "none", "AP")
    (trace,) = view.traces
    assert (trace.spec["x"], trace.spec["y"]) == (["0.6", "0.5"], ["4", "1"])
    assert trace.spec["z"] == [pytest.approx([30, 20]), [pytest.approx(10), None]]
    assert trace.grid == ((0, 1), (2, None))
    assert trace.spec["text"] == [["30.0", "20.0"], ["10.0", ""]]


def test_a_cell_without_a_finished_run_names_its_state() -> None:
    whole = grid(cell(0.3, tau="0.6", n="4"), cell(None, tau="0.5", n="4"), cell(0.1, tau="0.6", n="1"))
    _, state = heat_map(whole).views[0].traces
    assert (state.spec["x"], state.spec["y"], state.spec["text"]) == (["0.5"], ["4"], ["missing"])
    assert state.cells == (1,)


def test_differences_are_shown_with_their_verdicts_and_the_base_as_zero() -> None:
    other = replace(cell(0.2, tau="0.5", n="4"), difference=Difference(-0.1, {}, None, None, Verdict.WORSE))
    whole = grid(cell(0.3, tau="0.6", n="4"), other, cell(0.1, tau="0.6", n="1"))
    view = next(view for view in heat_map(whole).views if view.choice[2].startswith("Δ"))
    assert view.traces[0].spec["z"] == [[0, pytest.approx(-10)], [None, None]]
    assert view.traces[0].spec["text"][0] == ["base", "\N{MINUS SIGN}10.0<br>worse"]


def test_other_axes_are_held_at_one_level_each() -> None:
    cells = [cell(0.3, tau=tau, n=n, postprocess=name) for name in ("nms", "topk") for tau in "56" for n in "14"]
    choices = [view.choice for view in heat_map(grid(*cells)).views]
    assert choices[:2] == [("tau x n", "postprocess=nms", "AP"), ("tau x n", "postprocess=topk", "AP")]
    assert ("tau x postprocess", "n=4", "AP") in choices


def test_the_thresholds_of_the_paper_come_first() -> None:
    cells = [cell(0.3, lr=lr, n=n, tau=tau) for lr in "12" for n in "14" for tau in "56"]
    plot = heat_map(grid(*cells, axes=("lr", "n", "tau")))
    assert plot.views[0].choice[0] == "n x tau"


@pytest.mark.parametrize(
    "cells",
    [
        (cell(0.3, tau="0.6", n="4"), cell(0.2, tau="0.5", n="4")),
        (cell(None, tau="0.6", n="4"), cell(None, tau="0.5", n="1")),
    ],
)
def test_one_axis_or_no_score_is_a_reason(cells: tuple[Cell, ...]) -> None:
    plot = heat_map(grid(*cells))
    assert plot.views == ()
    assert "two axes" in plot.absent


def test_many_levels_stand_below_each_other() -> None:
    cells = [cell(0.3, system=f"s{level}", n=n) for n in "14" for level in range(9)]
    view = heat_map(grid(*cells, axes=("system", "n"))).views[0]
    assert (view.layout["xaxis"]["title"]["text"], view.layout["yaxis"]["title"]["text"]) == ("n", "system")
    assert view.layout["yaxis"]["autorange"] == "reversed"
