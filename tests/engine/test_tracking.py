"""The run's own record, and W&B without a login."""

import csv
import json
import math
import os
from pathlib import Path

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger

from deta.engine.tracking import MetricsLogger, make_wandb_logger, read_metrics, write_csv


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
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2: not valid JSON"):
        read_metrics(path)


def test_columns_keep_the_order_of_their_first_occurrence(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", [{"b": 1}, {"a": 2, "b": 3}])
    assert (tmp_path / "table.csv").read_text().splitlines() == ["b,a", "1,", "3,2"]


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where nobody has logged in to W&B."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def mode_of(logger: WandbLogger | None) -> str:
    """What W&B is going to be told, before it starts."""
    assert logger is not None
    return str(logger._wandb_init["settings"].mode)


def make(folder: Path, mode: str = "auto") -> WandbLogger | None:
    return make_wandb_logger(folder=folder, mode=mode, project="deta", group=None)


@pytest.mark.usefixtures("no_account")
def test_without_a_key_the_run_is_kept_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "2026-01-02 tau=0.5"
    logger = make(folder)
    assert logger is not None
    logger.log_metrics({"loss": 0.25}, step=7)
    run_id = logger.experiment.id
    wandb.finish()
    assert "WANDB_MODE" not in os.environ
    assert run_id == "2026-01-02-tau-0.5"
    records = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [record.name for record in records] == [f"run-{run_id}.wandb"]
    assert b"loss" in records[0].read_bytes()


@pytest.mark.usefixtures("no_account")
def test_online_without_a_key_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logger.wandb.mode=online needs a key: set WANDB_API_KEY or run wandb login"):
        make(tmp_path / "run", mode="online")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_account")
def test_disabled_makes_no_logger_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(tmp_path / "run", mode="disabled") is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert make(tmp_path / "run") is None
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_account")
def test_the_environment_decides_where_the_configuration_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert mode_of(make(tmp_path)) == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert mode_of(make(tmp_path)) == "offline"
    assert mode_of(make(tmp_path, mode="online")) == "online"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert mode_of(make(tmp_path)) == "offline"


@pytest.mark.usefixtures("no_account")
def test_a_login_in_the_netrc_file_counts_as_a_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine api.wandb.ai login user password 0000\n")
    (home / ".netrc").chmod(0o600)
    assert mode_of(make(tmp_path / "run")) == "online"


@pytest.mark.usefixtures("no_account")
@pytest.mark.parametrize("name", ["WANDB_MODE", "mode"])
def test_an_unknown_mode_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "WANDB_MODE":
        monkeypatch.setenv(name, "offlin")
    with pytest.raises(ValueError, match=rf"{name} must be one of .*, got 'offlin'"):
        make(tmp_path, mode="auto" if name == "WANDB_MODE" else "offlin")
