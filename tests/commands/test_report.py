"""``deta report``: its words, and a report of real runs."""

import csv
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from deta.console.spelling import name_words
from deta.runs.cells import add_cells
from deta.studies.results import Comparison
from tests.commands.conftest import Run
from tests.commands.running import TINY_TRAINING, fail, succeed
from tests.studies.invented import invented_comparison


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int | None]]:
    """What the command asks to be collected; it gets the invented comparison."""
    calls = []

    def collect(folder: Path, *, bootstrap: int | None, **_: object) -> Comparison:
        calls.append((folder, bootstrap))
        return invented_comparison(tmp_path / "runs", num_pictures=0)

    module = ModuleType("deta.studies.collect")
    module.collect = collect  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_a_folder_may_look_like_an_override(tmp_path: Path) -> None:
    folder = tmp_path / "tau=0.5"
    assert name_words([str(folder)], ["folder"]) == [str(folder)]
    folder.mkdir()
    assert name_words([str(folder)], ["folder"]) == [f"folder={folder}"]


def test_the_report_lies_in_the_folder_unless_told_otherwise(
    tmp_path: Path, asked: list[tuple[Path, int | None]]
) -> None:
    folder, other = tmp_path / "it's a study", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    outcome = succeed("report", str(folder))
    assert outcome.out.splitlines()[0] == str(folder / "report" / "report.html")
    assert "table.csv, table.md, table.tex" in outcome.out
    assert (folder / "report" / "report.html").is_file()
    succeed("report", f"folder={other}", f"out={tmp_path}/out", "bootstrap=null")
    assert (tmp_path / "out" / "table.tex").is_file()
    assert asked == [(folder, 1000), (other, None)]


def test_without_a_folder_the_message_says_what_to_give() -> None:
    assert "folder=<value>" in fail("report")


def test_a_trained_run_has_a_report_with_its_scores(trained: Run, tmp_path: Path) -> None:
    pytest.importorskip("deta.studies.collect", reason="runs cannot be collected yet")
    succeed("report", str(trained.folder), f"out={tmp_path}")
    (row,) = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    done = json.loads((trained.folder / "done.json").read_text())
    assert float(row["AP_mean"]) == pytest.approx(100 * done["AP"], rel=1e-6)
    assert row["seeds_done"] == row["seeds_planned"] == "1"
    assert trained.folder.name in (tmp_path / "report.html").read_text()


def test_cells_that_have_not_started_have_rows_with_the_levels_that_their_words_make(
    trained: Run, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "first")
    cells = {
        "later": ["criterion.rules.layers.assigner.tau=0.50"],
        "first": [],
        "one": ["criterion.rules.layers.assigner.tau=5e-1", "seed=1"],
        "other": ["assigner@criterion.rules.layers.assigner=hungarian"],
        "gone": ["experiment=renamed"],
    }
    add_cells(tmp_path, {name: [*TINY_TRAINING, *words] for name, words in cells.items()})
    succeed("report", str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "report" / "table.csv").read_text().splitlines()))
    assert [(row["assigner"], row["tau"], row["seeds_done"], row["seeds_planned"]) for row in rows] == [
        ("iou", "0.6", "1", "1"),
        ("iou", "0.5", "0", "2"),
        ("hungarian", "-", "0", "1"),
    ]
    notes = (tmp_path / "report" / "table.md").read_text()
    assert "assigner=iou tau=0.5 seed=1" in notes
    assert "1 run left out, not started" in notes
    assert "different" not in notes
