"""The run's own record."""

import csv
import json
import math
import resource
import shutil
import signal
from pathlib import Path

import pytest

from deta.tracking.metrics import MetricsLogger, read_metrics
from deta.utils.tables import write_csv


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    logger = MetricsLogger(folder=tmp_path / "run")
    for step in range(3):
        logger.log_metrics({"train/loss": 2.0 - step}, step=step)
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == step + 1
        row = json.loads(lines[-1])
        assert (row["step"], row["train/loss"]) == (step, 2.0 - step)
        assert row["time"] > 1.7e9


def test_the_table_has_a_column_for_every_key_that_ever_occurred(tmp_path: Path) -> None:
    logger = MetricsLogger(folder=tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.log_metrics({"AP": 0.5}, step=1)
    logger.finalize("success")
    rows = table(tmp_path)
    assert [(row["step"], row["loss"], row["AP"]) for row in rows] == [("0", "1.0", ""), ("1", "", "0.5")]
    assert not list(tmp_path.glob("*.tmp"))


def test_the_table_of_a_failed_run_is_written_too(tmp_path: Path) -> None:
    logger = MetricsLogger(folder=tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.finalize("failed")
    assert len(table(tmp_path)) == 1


def test_a_run_without_metrics_has_no_table(tmp_path: Path) -> None:
    MetricsLogger(folder=tmp_path).finalize("success")
    assert not list(tmp_path.iterdir())


def test_the_table_is_not_rewritten_at_every_row(tmp_path: Path) -> None:
    logger = MetricsLogger(folder=tmp_path)
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step=step)
        logger.save()
    assert len(table(tmp_path)) == 1
    logger.finalize("success")
    assert len(table(tmp_path)) == 3


def test_a_continued_run_keeps_the_rows_of_its_earlier_part(tmp_path: Path) -> None:
    for step in (0, 1):
        logger = MetricsLogger(folder=tmp_path)
        logger.log_metrics({"loss": 1.0}, step=step)
        logger.finalize("success")
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1]
    assert [row["step"] for row in table(tmp_path)] == ["0", "1"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_stand_as_null(tmp_path: Path, value: float) -> None:
    logger = MetricsLogger(folder=tmp_path)
    logger.log_metrics({"loss": value, "AP": 0.5}, step=0)
    logger.finalize("success")
    assert '"loss": null' in logger.path.read_text()
    assert [row["loss"] for row in read_metrics(logger.path)] == [None]
    assert [(row["loss"], row["AP"]) for row in table(tmp_path)] == [("", "0.5")]


def test_a_line_that_a_killed_process_left_unfinished_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 0}, {"step": 1}]


def test_a_run_continues_after_an_unfinished_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1, "lo')
    logger = MetricsLogger(folder=tmp_path)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.log_metrics({"loss": 0.5}, step=2)
    logger.finalize("success")
    assert [row["step"] for row in read_metrics(logger.path)] == [0, 1, 2]
    assert [row["step"] for row in table(tmp_path)] == ["0", "1", "2"]


def test_a_damaged_line_inside_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step"\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: no row of numbers"):
        read_metrics(path)


def test_columns_keep_the_order_of_their_first_occurrence(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [{"b": 1}, {"a": 2, "b": 3}])
    assert (tmp_path / "table.csv").read_text().splitlines() == ["b,a", "1,", "3,2"]


def test_a_directory_that_was_removed_is_an_error_even_where_a_checkpoint_has_made_it_anew(tmp_path: Path) -> None:
    logger = MetricsLogger(folder=tmp_path / "run")
    logger.log_metrics({"loss": 1.0}, step=0)
    shutil.rmtree(tmp_path / "run")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match=r"run/metrics\.jsonl"):
            logger.log_metrics({"loss": 1.0}, step=1)
        (tmp_path / "run" / "checkpoints").mkdir(parents=True, exist_ok=True)


_BEYOND_FLOATS = b'{"time": 1' + b"0" * 400 + b"}\n{}\n"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n{}\n", b"[1]\n{}\n", b"{\n{}\n", b"[" * 100_000 + b"\n{}\n", _BEYOND_FLOATS]
)
def test_a_damaged_line_is_named_with_its_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}, line 1: no row of numbers"):
        read_metrics(path)


def test_a_full_disk_is_named_with_the_record(tmp_path: Path) -> None:
    logger = MetricsLogger(folder=tmp_path)
    logger.log_metrics({"loss": 1.0}, step=0)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (logger.end() + 5, hard))  # as a disk with five bytes left
    try:
        with pytest.raises(OSError, match=r"File too large.*metrics\.jsonl"):
            logger.log_metrics({"loss": 1.0}, step=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert [row["step"] for row in read_metrics(logger.path)] == [0]
    MetricsLogger(folder=tmp_path).log_metrics({"loss": 1.0}, step=1)
    assert [row["step"] for row in read_metrics(logger.path)] == [0, 1]
