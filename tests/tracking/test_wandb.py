"""W&B without a login, without a loss and without a risk."""

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from deta.runs.preemption import StoppedRun
from deta.tracking.metrics import MetricsLogger, read_metrics
from deta.tracking.mirror import finishing
from deta.tracking.wandb import ID_FILE, WandbTracker, make_wandb_tracker, run_id
from deta.tracking.wandb_key import has_wandb_key
from tests.tracking.wandb_records import merged, numbers, of_kind, parts, records
from tests.training.tiny import detection_module, make_trainer, shapes


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where nobody has logged in to W&B, and nobody is there to answer a question."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def ask(*_: object) -> None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr("getpass.getpass", ask)


def offline(folder: Path, **options: Any) -> WandbTracker:  # noqa: ANN401
    tracker = make_wandb_tracker(folder=folder, mode="offline", **options)
    assert tracker is not None
    return tracker


class Saved:
    """Stands for the callback that keeps the best checkpoint."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        path.with_name("last.ckpt").write_bytes(b"later weights")
        self.best_model_path = str(path)


def test_what_was_sent_can_be_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "my sweep" / "tau=0.5"
    tracker = offline(folder)
    tracker.log_hyperparams({"model": {"size": 3}})
    tracker.log_metrics({"train/loss": 2.0, "epoch": 0.0}, step=0)
    tracker.log_metrics({"train/loss": float("nan")}, step=9)
    tracker.log_metrics({"val/AP": 1 / 3, "epoch": 0.0}, step=9)
    tracker.log_pictures("val/pictures", [Image.new("RGB", (9, 9))], step=9)
    tracker.log_table("val/classes", ["class", "AP"], [["cat", 0.5], ["dog", None]], step=9)
    tracker.finish()
    (path,) = parts(folder)
    found = records(path)
    assert numbers(found) == {
        0: {"train/loss": 2.0, "epoch": 0.0},
        9: {"train/loss": None, "val/AP": 1 / 3, "epoch": 0.0},
    }
    (run,) = of_kind(found, "run")
    assert (run["display_name"], run["run_group"], run["job_type"]) == ("tau=0.5", "my sweep", "train")
    assert run["run_id"] == (folder / ID_FILE).read_text().strip()
    assert {"model": {"size": 3}} in [config["update"] for config in of_kind(found, "config")]
    assert of_kind(found, "stats")  # of the machine
    assert of_kind(found, "exit")[0]["exit_code"] == 0
    drawn = {metric["glob_name"]: metric["step_metric"] for metric in of_kind(found, "metric")}
    assert drawn == {"val/*": "epoch", "assign/*": "epoch"}
    assert len(list(path.parent.glob("files/media/images/val/pictures*.png"))) == 1
    table = json.loads(next(path.parent.glob("files/media/table/val/classes*.json")).read_text())
    assert table == {"columns": ["class", "AP"], "data": [["cat", 0.5], ["dog", None]]}


def test_a_run_that_a_signal_stopped_is_preempted_and_one_with_an_error_has_failed(tmp_path: Path) -> None:
    for name, error, is_preempted in (
        ("stopped", StoppedRun(signal.SIGUSR1, 3), True),
        ("failed", KeyboardInterrupt(), False),
    ):
        tracker = offline(tmp_path / name)
        tracker.log_metrics({"loss": 1.0}, step=0)
        with pytest.raises(type(error)), finishing([tracker]):
            raise error
        (path,) = parts(tmp_path / name)
        found = records(path)
        assert of_kind(found, "exit")[0]["exit_code"] == 1
        assert bool([record for record in found if record["type"] == "preempting"]) == is_preempted


@pytest.mark.parametrize(
    ("checkpoints", "expected"),
    [("none", []), ("best", ["best.ckpt"]), ("all", ["best.ckpt", "best.ckpt", "last.ckpt"])],
)
def test_checkpoints_become_artifacts_as_chosen(tmp_path: Path, checkpoints: str, expected: list[str]) -> None:
    tracker = offline(tmp_path / "run", checkpoints=checkpoints)
    tracker.log_metrics({"loss": 1.0}, step=0)
    callback = Saved(tmp_path / "run" / "checkpoints" / "best.ckpt")
    for _ in range(2):
        tracker.after_save_checkpoint(callback)  # type: ignore[arg-type]
    tracker.finish()
    (path,) = parts(tmp_path / "run")
    artifacts = [artifact for artifact in of_kind(records(path), "artifact") if artifact["type"] == "model"]
    assert [artifact["manifest"]["contents"][0]["path"] for artifact in artifacts] == expected


@pytest.mark.parametrize(
    ("checkpoints", "exit_code", "expected"),
    [("none", 0, None), ("best", 1, None), ("best", 0, ["best.ckpt"]), ("all", 0, ["last.ckpt"])],
)
def test_the_best_of_an_earlier_part_becomes_an_artifact_at_the_end_alone(
    tmp_path: Path, checkpoints: str, exit_code: int, expected: list[str] | None
) -> None:
    tracker = offline(tmp_path / "run", checkpoints=checkpoints)
    tracker.note_best(Path(Saved(tmp_path / "run" / "checkpoints" / "best.ckpt").best_model_path))
    tracker.finish(exit_code=exit_code)
    if expected is None:
        assert not parts(tmp_path / "run")
        return
    (path,) = parts(tmp_path / "run")
    artifacts = [artifact for artifact in of_kind(records(path), "artifact") if artifact["type"] == "model"]
    assert [artifact["manifest"]["contents"][0]["path"] for artifact in artifacts] == expected


def test_runs_in_equally_named_directories_have_different_ids(tmp_path: Path) -> None:
    folders = [tmp_path / path for path in ("a/sweep/tau0.5", "b/sweep/tau0.5")]
    for folder in folders:
        folder.mkdir(parents=True)
    first, second = (run_id(folder) for folder in folders)
    assert first != second
    assert first.startswith("sweep-tau0.5-")
    assert run_id(folders[0]) == first
    strange = tmp_path / "a:b" / ("x=1,y='2'?" + "z" * 200)
    strange.mkdir(parents=True)
    assert len(run_id(strange)) <= 128
    assert not set(run_id(strange)) & set(":;,#?/'= ")


def test_a_sweep_agent_chooses_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    assert run_id(tmp_path) != "chosen"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert run_id(tmp_path) == "chosen"


def fit(cache: Path, folder: Path) -> tuple[WandbTracker, list[dict[str, Any]]]:
    """Train for two epochs with both loggers; returns the tracker and the rows of the record without times."""
    tracker = offline(folder)
    trainer = make_trainer(folder, logger=[MetricsLogger(folder=folder), tracker], max_epochs=2)
    with finishing(trainer.loggers):
        data = shapes(cache)
        trainer.fit(detection_module(data), datamodule=data)
    rows = read_metrics(folder / "metrics.jsonl")
    return tracker, [{name: value for name, value in row.items() if name != "time"} for row in rows]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name in ("deta.tracking.wandb", "deta.tracking.mirror")
    ]


def raising(error: Exception, *, after: int = 0) -> Callable[..., None]:
    """A function that raises from the call number ``after`` on."""
    calls: list[object] = []

    def function(*arguments: object, **_: object) -> None:
        calls.append(arguments)
        if len(calls) > after:
            raise error

    return function


@pytest.mark.parametrize(
    ("place", "failing"),
    [
        ("init", raising(wandb.errors.CommError("no answer"))),
        ("init", raising(RuntimeError("what nobody has thought of"))),
        ("Run.log", raising(OSError(errno.ENOSPC, "No space left on device"), after=2)),
        ("Run.finish", raising(ConnectionResetError("the service is gone"))),
    ],
)
def test_a_failure_of_wandb_is_one_warning_and_changes_no_training(
    cache: Path,
    tmp_path: Path,
    place: str,
    failing: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, whole = fit(cache, tmp_path / "whole")
    assert not warnings_of(caplog)
    monkeypatch.setattr(f"wandb.{place}", failing)
    tracker, rows = fit(cache, tmp_path / "broken")
    assert tracker.is_broken
    assert rows == whole
    (message,) = warnings_of(caplog)
    assert message.startswith("W&B failed (")
    monkeypatch.undo()
    wandb.finish()


def test_the_offline_file_holds_the_rows_of_the_record(cache: Path, tmp_path: Path) -> None:
    tracker, rows = fit(cache, tmp_path)
    assert not tracker.is_broken
    (path,) = parts(tmp_path)
    assert numbers(records(path)) == merged(rows)
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


def test_a_server_that_cannot_be_reached_leaves_an_offline_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb.login", raising(wandb.errors.AuthenticationError("no answer")))
    tracker = make_wandb_tracker(folder=tmp_path / "run")
    assert tracker is not None
    assert tracker.mode == "online"
    tracker.log_metrics({"loss": 0.5}, step=4)
    tracker.finish()
    assert not tracker.is_broken
    assert "W&B cannot go online (AuthenticationError: no answer)" in caplog.text
    (path,) = parts(tmp_path / "run")
    assert numbers(records(path)) == {4: {"loss": 0.5}}
    assert "WANDB_MODE" not in os.environ


def test_without_a_key_the_run_is_kept_on_disk(tmp_path: Path) -> None:
    tracker = make_wandb_tracker(folder=tmp_path / "run")
    assert tracker is not None
    assert tracker.mode == "offline"


def test_online_without_a_key_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logger.wandb.mode=online needs a key: set WANDB_API_KEY or run wandb login"):
        make_wandb_tracker(folder=tmp_path / "run", mode="online")
    assert not (tmp_path / "run").exists()


def test_disabled_makes_no_tracker_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_wandb_tracker(folder=tmp_path / "run", mode="disabled") is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert make_wandb_tracker(folder=tmp_path / "run") is None
    assert not (tmp_path / "run").exists()


def mode_of(folder: Path, mode: str = "auto") -> str:
    tracker = make_wandb_tracker(folder=folder, mode=mode)
    assert tracker is not None
    return tracker.mode


def test_the_environment_decides_where_the_configuration_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert mode_of(tmp_path) == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert mode_of(tmp_path) == "offline"
    assert mode_of(tmp_path, mode="online") == "online"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert mode_of(tmp_path) == "offline"


@pytest.mark.parametrize("place", ["home/.netrc", "elsewhere"])
def test_a_login_in_the_netrc_file_counts_as_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    assert not has_wandb_key()
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("machine api.wandb.ai login user password 0000\n")
    path.chmod(0o600)
    if place == "elsewhere":
        monkeypatch.setenv("NETRC", str(path))
    assert has_wandb_key()


@pytest.mark.parametrize("name", ["WANDB_MODE", "mode", "checkpoints"])
def test_an_unknown_choice_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "WANDB_MODE":
        monkeypatch.setenv(name, "offlin")
    options = {} if name == "WANDB_MODE" else {name: "offlin"}
    with pytest.raises(ValueError, match=rf"{name} must be one of .*, got 'offlin'"):
        make_wandb_tracker(folder=tmp_path, **options)
