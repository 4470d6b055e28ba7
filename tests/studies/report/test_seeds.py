"""The score of every seed."""

from dataclasses import replace
from pathlib import Path

import pytest

from deta.studies.report.seeds import scores_of_seeds
from deta.studies.report.trainings import trainings
from tests.studies.report.making import cell, comparison, run


def test_every_finished_run_is_a_point_beside_the_mean() -> None:
    runs = [run(folder=Path(str(seed)), seed=seed) for seed in range(3)]
    runs = [replace(each, scores={"nms": {"AP": 0.1 * each.seed}}) for each in runs[:2]] + runs[2:]
    whole = comparison(cell(0.05, *runs, tau="0.6"), cell(None, tau="0.5"), base={"tau": "0.6"}, axes=("tau",))
    (view,) = scores_of_seeds(whole, trainings(whole)).views
    points, mean = view.traces
    assert points.spec["x"] == pytest.approx([0, 10])
    assert points.spec["text"] == ["seed 0", "seed 1"]
    assert (mean.spec["x"], mean.spec["y"]) == ([pytest.approx(5)], ["base"])
    assert points.cells == mean.cells == (0,)


def test_without_a_finished_run_there_is_a_reason() -> None:
    whole = comparison(cell(None, tau="0.5"), base={"tau": "0.5"}, axes=("tau",))
    assert scores_of_seeds(whole, trainings(whole)).views == ()
