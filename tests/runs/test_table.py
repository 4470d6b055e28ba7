"""Columns of the table of runs."""

from pathlib import Path

import pytest

from deta.runs.cells import WORDS, add_cells
from deta.runs.state import RunState, RunStatus
from deta.runs.table import aligned, swept_columns, table, terminal_width
from deta.utils.files import write_json

TAU = "criterion.rules.layers.assigner.tau"


def test_only_keys_that_differ_are_columns() -> None:
    words = {
        "a": ["experiment=x", f"{TAU}=0.5", "seed=0", "hydra.run.dir=a", "logger=file"],
        "b": ["experiment=x", f"{TAU}=0.6", "seed=0", "hydra.run.dir=b"],
    }
    assert swept_columns(words) == {"tau": {"a": "0.5", "b": "0.6"}}


def test_single_trainings_show_the_words_in_which_they_differ(tmp_path: Path) -> None:
    for name, tau in (("a", 0.5), ("b", 0.6)):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / WORDS, ["experiment=x", f"{TAU}={tau}", f"hydra.run.dir={name}"])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / WORDS).write_text("{")
    runs = [RunStatus(tmp_path / name, RunState.DONE) for name in ("a", "b", "damaged")]
    heading, *rows, _ = (line.split() for line in table(runs, tmp_path).splitlines())
    assert heading[-1] == "tau"
    assert [row[-1] for row in rows] == ["0.5", "0.6", "-"]


def test_trainings_that_differ_in_much_show_what_their_sweep_varies_alone(tmp_path: Path) -> None:
    add_cells(tmp_path, {"a": [f"{TAU}=0.5"], "b": [f"{TAU}=0.6"]})
    (tmp_path / "other").mkdir()
    write_json(tmp_path / "other" / WORDS, [f"key{number}=1" for number in range(7)])
    runs = [RunStatus(tmp_path / name, RunState.DONE) for name in ("a", "b", "other")]
    assert table(runs, tmp_path).splitlines()[0].split()[-1] == "tau"


def test_keys_that_end_alike_are_told_apart_and_groups_are_named_by_their_place() -> None:
    words = {
        "a": [f"{TAU}=0.5", "criterion.rules.first.assigner.tau=0.5", "assigner@criterion.rules.layers.assigner=iou"],
        "b": [
            f"{TAU}=0.6",
            "+criterion.rules.first.assigner.tau='0.7'",
            "assigner@criterion.rules.layers.assigner=release",
        ],
        "c": [],
    }
    columns = swept_columns(words)
    assert list(columns) == ["layers.tau", "first.tau", "assigner"]
    assert columns["first.tau"] == {"a": "0.5", "b": "0.7", "c": "-"}


def test_lines_fit_the_terminal_and_names_keep_their_end() -> None:
    rows = [["run", "state", "tau", ""], ["x" * 60 + "-s0-0123abcd", "failed", "0.5", "because of " + "y" * 90]]
    for width in (40, 60, 80, 100):
        lines = aligned(rows, numbers=(), width=width)
        assert max(map(len, lines)) <= width
        assert "-s0-0123abcd  failed  0.5" in lines[1]
    assert aligned(rows, numbers=(), width=None)[1].startswith("x" * 60)


def test_columns_that_do_not_fit_continue_below_beside_the_same_names() -> None:
    rows = [["run", "state", "first", "second", ""], ["r" * 20, "done", "1" * 10, "2" * 10, "why"]]
    assert aligned(rows, numbers=(), width=40) == [
        "run                   state  first",
        f"{'r' * 20}  done   {'1' * 10}",
        "",
        "run                   second",
        f"{'r' * 20}  {'2' * 10}  why",
    ]


def test_headings_are_folded_before_columns_continue_below() -> None:
    rows = [["tau", "positives_per_object", "mean iou", ""], ["0.5", "2.250", "0.413", ""]]
    assert aligned(rows, numbers=(0, 1, 2), width=24) == [
        "     positives_",
        "           per_   mean",
        "tau      object    iou",
        "0.5       2.250  0.413",
    ]


@pytest.mark.parametrize("width", [20, 33, 40, 57, 80])
def test_no_cell_and_no_word_of_a_message_is_lost(width: int) -> None:
    titles = [f"title_{number}" for number in range(9)]
    rows = [["run", *titles, ""], ["r1", *(f"cell{number}" for number in range(9)), "no such file or folder " * 6]]
    lines = aligned(rows, numbers=(), width=width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert [word for word in words if word.startswith("cell")] == [f"cell{number}" for number in range(9)]
    assert words.count("folder") == 6


def test_columns_asked_for_by_the_environment_count_in_a_pipe_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal_width() == 77


def test_letters_that_a_terminal_obeys_are_shown() -> None:
    assert r"\x1b[31m" in aligned([["run", ""], ["a", "\x1b[31m"]], numbers=(), width=None)[1]


def test_the_table_of_a_sweep_has_what_it_varies(tmp_path: Path) -> None:
    add_cells(tmp_path, {"a": [f"{TAU}=0.5", "seed=1"], "b": [f"{TAU}=0.6", "seed=1"]})
    runs = [RunStatus(tmp_path / name, RunState.MISSING) for name in ("a", "b")]
    assert table(runs, tmp_path).splitlines() == [
        "run  state    steps  saved  AP  of epoch  tau",
        "a    missing      -      -   -         -  0.5",
        "b    missing      -      -   -         -  0.6",
        "2 missing",
    ]
