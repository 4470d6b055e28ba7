"""Score against cost."""

from pathlib import Path

import pytest

from deta.runs.state import RunState
from deta.studies.report.cost import cost_plot
from deta.studies.report.trainings import trainings
from tests.studies.report.making import cell, comparison, run


def test_a_point_is_the_mean_of_the_runs_that_are_done() -> None:
    runs = (
        run(folder=Path("a"), hours=1),
        run(folder=Path("b"), hours=3, seed=1),
        run(folder=Path("c"), hours=50, seed=2, state=RunState.FAILED),
    )
    whole = comparison(cell(0.3, *runs, tau="0.6"), cell(None, tau="0.5"), base={"tau": "0.6"}, axes=("tau",))
    plot = cost_plot(whole, trainings(whole))
    assert [view.choice[0].split()[0] for view in plot.views] == ["device", "wall-clock", "optimizer", "epochs"]
    (point,) = plot.views[0].traces
    assert (point.spec["x"], point.spec["y"]) == ([4], [pytest.approx(30)])  # two devices
    assert (point.spec["error_x"]["array"], point.spec["error_x"]["arrayminus"]) == ([2], [2])
    assert plot.views[2].traces[0].spec["x"] == [100]
    assert "Devices: GPU." in plot.caption


def test_without_a_finished_run_there_is_a_reason() -> None:
    whole = comparison(cell(None, tau="0.5"), base={"tau": "0.5"}, axes=("tau",))
    plot = cost_plot(whole, trainings(whole))
    assert (plot.views, bool(plot.absent)) == ((), True)
