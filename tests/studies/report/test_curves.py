"""Curves over seeds."""

import pytest

from deta.studies.report.curves import band, instability, learning_curves
from tests.studies.report.making import run, training

FIRST = [
    {"epoch": 0, "step": 0, "train/loss": 4.0},
    {"epoch": 0, "step": 5, "train/loss": 2.0},
    {"epoch": 0, "val/AP": 0.1, "val/AP50": 0.2, "val/ARs": 0.4},
    {"epoch": 1, "val/AP": 0.3, "val/AP50": 0.5, "assign/layers/instability": 0.25},
]
SECOND = [{"epoch": 0, "val/AP": 0.2}]


def test_a_band_spans_the_seeds_that_came_so_far() -> None:
    found = band([run(FIRST), run(SECOND)], "val/AP", factor=100)
    assert found is not None
    assert list(found.epochs) == [1, 2]
    assert found.mean == pytest.approx((15, 30))
    assert found.low == pytest.approx((10, 30))
    assert found.high == pytest.approx((20, 30))
    assert list(found.num_seeds) == [2, 1]


def test_values_of_one_epoch_are_averaged_first() -> None:
    found = band([run(FIRST)], "train/loss")
    assert found is not None
    assert (list(found.epochs), list(found.mean)) == ([1], [3])


def test_what_no_run_has_is_no_band() -> None:
    assert band([run(FIRST), run()], "absent") is None
    assert band([], "val/AP") is None


def test_learning_curves_offer_what_was_logged_in_a_fixed_order() -> None:
    plot = learning_curves([training(run(FIRST), run(SECOND)), training(run(), cells=(1,), label="missing")])
    assert [view.choice for view in plot.views] == [("AP",), ("AP50",), ("ARs",), ("training loss",)]
    area, line = plot.views[0].traces
    assert list(area.spec["x"]) == [1, 2, 2, 1]
    assert list(area.spec["y"]) == pytest.approx([20, 30, 30, 10])
    assert list(line.spec["y"]) == pytest.approx([15, 30])
    assert (area.label, line.label) == (None, "base")


def test_a_single_seed_has_no_band() -> None:
    (line,) = learning_curves([training(run(FIRST))]).views[0].traces
    assert line.spec["mode"] == "lines+markers"


def test_without_a_score_there_is_a_reason() -> None:
    plot = learning_curves([training(run())])
    assert plot.views == ()
    assert "logged a score" in plot.absent


def test_instability_has_a_view_for_each_stage_that_logged_it() -> None:
    plot = instability([training(run(FIRST))])
    assert [view.choice for view in plot.views] == [("second stage (last decoder layer)",)]
    assert list(plot.views[0].traces[0].spec["y"]) == [0.25]
    assert instability([training(run(SECOND))]).absent
