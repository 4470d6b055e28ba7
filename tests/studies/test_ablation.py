"""The table of a comparison."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from deta.runs.state import RunState, RunStatus
from deta.studies.ablation import ablation_table, all_runs, device_hours, hours_text, num_decimals, number, runs_table
from deta.studies.results import Axis, Cell, Comparison, Cost, Difference, Interval, Run, Summary, Verdict
from deta.studies.tables import ABSENT, MINUS, Table, to_csv
from tests.studies.invented import invented_comparison


def run(name: str, tau: str, seed: int, state: RunState = RunState.DONE, message: str = "") -> Run:
    folder = Path("runs") / name
    cost = Cost(1800, 4, "GPU", 100, 2) if state != RunState.MISSING else None
    return Run(folder, RunStatus(folder, state, 100, 0.3, message), {"tau": tau}, seed, {}, (), cost)


BASE = Cell(
    {"tau": "0.6"},
    "nms",
    (run("a", "0.6", 0), run("b", "0.6", 1)),
    {"AP": Summary(0.314159, 0.003, 2), "APs": Summary(0.1, None, 1)},
    None,
)
OTHER = Cell(
    {"tau": "0.5"},
    "nms",
    (run("c", "0.5", 0), run("d", "0.5", 1, RunState.FAILED, "out of memory")),
    {"AP": Summary(0.304, None, 1)},
    Difference(-0.010159, {0: -0.010159}, None, Interval(-0.02, 0.001), Verdict.UNKNOWN),
)
EMPTY = Cell({"tau": "0.7"}, "nms", (run("e", "0.7", 0, RunState.MISSING),), {}, None)
COMPARISON = Comparison(
    "study", "Which?", (Axis("tau", (), ("0.6", "0.5", "0.7")),), (BASE, OTHER, EMPTY), {"tau": "0.6"}, ("A note.",)
)


def texts(table: Table, title: str) -> list[str]:
    """A column as people read it."""
    place = [column.title for column in table.columns].index(title)
    return [row[place].text for row in table.rows]


def records(table: Table) -> list[dict[str, str]]:
    """The CSV of a table."""
    return list(csv.DictReader(io.StringIO(str(to_csv(table)))))


def test_scores_are_in_points_with_their_spread() -> None:
    table = ablation_table(COMPARISON)
    assert texts(table, "tau") == ["0.6", "0.5", "0.7"]
    assert texts(table, "AP") == ["31.42 ± 0.30", "30.40", "missing"]
    assert texts(table, "APs") == ["10.00", ABSENT, ABSENT]
    assert [float(row["AP_mean"] or -1) for row in records(table)] == [pytest.approx(31.4159), pytest.approx(30.4), -1]


def test_differences_carry_a_sign_both_intervals_and_a_verdict() -> None:
    table = ablation_table(COMPARISON)
    assert texts(table, "ΔAP to base") == ["base", f"{MINUS}1.02", ABSENT]
    assert texts(table, "95 % over seeds") == [ABSENT] * 3
    assert texts(table, "95 % over images") == [ABSENT, f"[{MINUS}2.00, +0.10]", ABSENT]
    assert texts(table, "verdict") == [ABSENT, "too few seeds", ABSENT]
    assert [row["is_base"] for row in records(table)] == ["1", "0", "0"]


def test_what_detectors_of_different_size_cost_stands_beside_their_scores() -> None:
    def costing(cell: Cell, parameters: int, *paces: float) -> Cell:
        costs = [
            replace(run.cost, num_parameters=parameters, images_per_s=pace, memory_gb=pace / 10)
            for run, pace in zip(cell.runs, paces, strict=True)
            if run.cost is not None
        ]
        return replace(cell, runs=tuple(replace(run, cost=cost) for run, cost in zip(cell.runs, costs, strict=True)))

    cells = (costing(BASE, 1_600_000, 10.0, 11.0), costing(OTHER, 2_000_000, 20.0, 20.0), EMPTY)
    table = ablation_table(replace(COMPARISON, cells=cells))
    assert texts(table, "images/s in training") == ["10.5", "20.0", ABSENT]
    assert texts(table, "images/s in detection") == [ABSENT] * 3  # not on record
    assert texts(table, "parameters") == ["1,600,000", "2,000,000", ABSENT]
    assert texts(table, "most memory in GB") == ["1.05", "2.00", ABSENT]
    alike = replace(COMPARISON, cells=(cells[0], costing(OTHER, 1_600_000, 20.0, 20.0), EMPTY))
    assert "parameters" not in [column.title for column in ablation_table(alike).columns]


def test_incomplete_cells_are_counted_by_state() -> None:
    table = ablation_table(COMPARISON)
    assert texts(table, "seeds") == ["2/2", "1/2, 1 failed", "0/1, 1 missing"]
    assert "A note." in table.notes


def test_cost_is_hours_times_devices_of_all_runs_that_started() -> None:
    assert device_hours(BASE.runs[0]) == 2
    assert texts(ablation_table(COMPARISON), "device hours") == ["4.00", "4.00", ABSENT]


@pytest.mark.parametrize(
    ("stds", "expected"),
    [
        ([0.003], 2),
        ([0.0031, 0.0029], 2),
        ([0.012], 1),
        ([0.15], 1),
        ([0.0005], 3),
        ([0.00001], 3),
        ([], 1),
        ([0.0], 1),
    ],
)
def test_scores_have_one_decimal_more_than_the_noise_deserves(stds: list[float], expected: int) -> None:
    cells = tuple(replace(BASE, summary={"AP": Summary(0.3, std, 3)}) for std in stds)
    assert num_decimals(replace(COMPARISON, cells=cells)) == expected


@pytest.mark.parametrize(
    ("hours", "expected"), [(0, "0.000"), (0.01234, "0.012"), (1.234, "1.23"), (45.67, "45.7"), (1234.5, "1234")]
)
def test_hours_have_three_digits(hours: float, expected: str) -> None:
    assert hours_text(hours) == expected


def test_a_score_that_is_not_a_number_is_absent() -> None:
    assert number(float("nan"), 2) == ABSENT
    cells = (replace(BASE, summary={"AP": Summary(0.3, None, 1), "APs": Summary(float("nan"), None, 1)}),)
    table = ablation_table(replace(COMPARISON, cells=cells))
    assert texts(table, "APs") == [ABSENT]
    assert records(table)[0]["APs_mean"] == ""


def test_a_run_under_two_selections_is_one_run() -> None:
    twice = replace(COMPARISON, cells=(BASE, replace(BASE, postprocess="topk"), OTHER))
    assert [each.folder.name for each in all_runs(twice)] == ["a", "b", "c", "d"]
    table = runs_table(twice)
    assert texts(table, "run") == ["a", "b", "c", "d"]
    assert texts(table, "state") == ["done", "done", "done", "failed"]
    assert texts(table, "message")[-1] == "out of memory"
    assert "postprocess" in [column.title for column in ablation_table(twice).columns]


def test_the_invented_comparison_fills_every_kind_of_entry(tmp_path: Path) -> None:
    table = ablation_table(invented_comparison(tmp_path, num_pictures=0))
    assert len(table.rows) == 12
    assert "missing" in texts(table, "AP")
    assert texts(table, "verdict")[0] == ABSENT
    assert set(texts(table, "verdict")) <= {ABSENT, *Verdict}
    assert any("OutOfMemoryError" in note for note in table.notes)


def test_without_a_difference_there_are_no_columns_for_it() -> None:
    titles = [column.title for column in ablation_table(replace(COMPARISON, cells=(BASE,))).columns]
    assert titles == ["tau", "AP", "APs", "seeds", "device hours"]


def test_without_an_interval_over_images_there_is_no_column_for_it() -> None:
    assert OTHER.difference is not None
    cell = replace(OTHER, difference=replace(OTHER.difference, over_images=None))
    table = ablation_table(replace(COMPARISON, cells=(BASE, cell)))
    titles = [column.title for column in table.columns]
    assert titles == ["tau", "AP", "ΔAP to base", "95 % over seeds", "verdict", "APs", "seeds", "device hours"]
    assert not any("images" in note for note in table.notes)
    assert any("bootstrap over validation images" in note for note in ablation_table(COMPARISON).notes)


def test_an_empty_comparison_has_an_empty_table() -> None:
    assert ablation_table(replace(COMPARISON, cells=())).rows == ()
    assert runs_table(replace(COMPARISON, cells=())).rows == ()
