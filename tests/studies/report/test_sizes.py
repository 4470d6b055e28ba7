"""Positives by object size."""

import pytest

from deta.runs.state import RunState
from deta.structures import SIZE_NAMES
from deta.studies.report.sizes import SIZES, positives_by_size
from tests.studies.report.making import run, training


def row(epoch: int, small: float, large: float | None = None) -> dict[str, float | None]:
    key = "assign/layers/positives_per_object"
    return {"epoch": epoch, f"{key}_small": small, f"{key}_large": large}


def test_sizes_are_those_of_the_assignment() -> None:
    assert SIZES == SIZE_NAMES


def test_bars_are_the_last_epoch_of_the_seeds_that_are_done() -> None:
    runs = (run([row(0, 9), row(1, 1, 4)]), run([row(1, 3)]), run([row(0, 50)], state=RunState.FAILED))
    plot = positives_by_size([training(*runs)])
    (view,) = plot.views
    assert view.choice == ("positives per object", "second stage (last decoder layer)")
    spec = view.traces[0].spec
    assert (spec["x"], spec["y"]) == (["small", "large"], [2, 4])
    assert (spec["error_y"]["array"], spec["error_y"]["arrayminus"]) == ([1, 0], [1, 0])
    assert spec["customdata"] == [[1, 3, 2], [4, 4, 1]]


def test_what_a_rule_has_noted_is_drawn_after_what_is_counted_for_all() -> None:
    noted = {f"assign/layers/{name}_share_small": 0.5 for name in ("wanted_twice", "rescued", "unmatched")}
    plot = positives_by_size([training(run([row(0, 1) | noted]))])
    assert [view.choice[0] for view in plot.views] == [
        "positives per object",
        "objects without a positive (share)",
        "positives by the closest-box rule alone (share)",
        "positives noted as wanted_twice by the rule (share)",
    ]


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.RUNNING])
def test_unfinished_runs_alone_give_a_reason(state: RunState) -> None:
    plot = positives_by_size([training(run([row(0, 1)], state=state))])
    assert plot.views == ()
    assert "done" in plot.absent
