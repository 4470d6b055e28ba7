"""How far a run is, by its metrics, however many they are."""

import json
import random
from pathlib import Path

import pytest

from deta.runs.progress import Progress, read_progress

NUM_ROWS = 20_000
"""So many rows are more than twenty times what is read first."""


def row(step: int, **values: object) -> str:
    return json.dumps({"step": step, "train/loss": 1.5, "train/class": 0.25, "lr-AdamW/base": 1e-4, **values}) + "\n"


def write(path: Path, validations: dict[int, float | None], *, num_rows: int = NUM_ROWS) -> list[str]:
    """Write a record with validations after these steps; returns its rows."""
    rows = [row(step) for step in range(num_rows)]
    for step, metric in validations.items():
        rows[step] = row(step, epoch=step // 100, **{"val/AP": metric})
    path.write_text("".join(rows))
    return rows


@pytest.mark.parametrize("at", [0, 5, NUM_ROWS // 2, NUM_ROWS - 500, NUM_ROWS - 1])
def test_the_latest_validation_is_found_wherever_it_stands(at: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, {0: 0.125, at: 0.5})
    assert read_progress(path) == Progress(step=NUM_ROWS, metric=0.5, metric_epoch=at // 100 + 1)


def test_a_validation_without_a_score_is_the_latest_one_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, {0: 0.125, NUM_ROWS - 9: None})
    assert read_progress(path) == Progress(step=NUM_ROWS, metric=None, metric_epoch=(NUM_ROWS - 9) // 100 + 1)


def test_without_a_validation_the_steps_are_told(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", {})
    assert read_progress(tmp_path / "metrics.jsonl") == Progress(step=NUM_ROWS)


def test_rows_before_the_latest_validation_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = write(path, {NUM_ROWS - 9: 0.5})
    path.write_text("".join(["no row\n", *rows[1:]]))
    assert read_progress(path) == Progress(step=NUM_ROWS, metric=0.5, metric_epoch=(NUM_ROWS - 9) // 100 + 1)


@pytest.mark.parametrize("damaged", ["no row\n", '{"step": 5, "train/lo\n'])
@pytest.mark.parametrize("at", [3, NUM_ROWS - 3, NUM_ROWS - 1])
def test_damage_behind_the_latest_validation_is_told_by_its_line(at: int, damaged: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = write(path, {2: 0.5})
    path.write_text("".join([*rows[:at], damaged, *rows[at + 1 :]]))
    found = read_progress(path)
    assert found == Progress(step=at, metric=0.5, metric_epoch=1, damage=f"metrics.jsonl is damaged in line {at + 1}")


def test_a_row_that_is_being_written_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = write(path, {7: 0.5})
    path.write_text("".join(rows) + row(NUM_ROWS)[:-9])
    assert read_progress(path).step == NUM_ROWS


def test_what_is_read_is_what_stands_last_in_records_of_any_size(tmp_path: Path) -> None:
    choose = random.Random(0)
    for number in range(12):
        path, num_rows = tmp_path / f"{number}.jsonl", choose.randrange(1, 4000)
        at = choose.randrange(num_rows)
        write(path, {0: 0.25, at: 0.5}, num_rows=num_rows)
        assert read_progress(path) == Progress(step=num_rows, metric=0.5, metric_epoch=at // 100 + 1)
