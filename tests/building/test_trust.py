"""What this user has asked for is remembered with its place, for him alone."""

import os
from pathlib import Path
from unittest import mock

import pytest

from deta.building.trust import remember, remembered


def test_a_directory_of_somebody_else_in_the_same_place_is_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = tmp_path / "run"
    run.mkdir()
    remember(run, ["mine.Rule"])
    assert remembered(run) == ["mine.Rule"]
    monkeypatch.setattr(os, "getuid", lambda: run.stat().st_uid + 1)
    assert list(remembered(run)) == []


def test_the_same_thing_is_remembered_once_and_a_damaged_memory_trusts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remember(tmp_path / "run", [])
    assert not (tmp_path / "state").exists()
    remember(tmp_path / "run", ["a", "b"])
    remember(tmp_path / "run", ["b", "c"])
    assert remembered(tmp_path / "run") == ["a", "b", "c"]
    (record,) = (tmp_path / "state" / "deta" / "runs").iterdir()
    record.write_text("[")
    assert list(remembered(tmp_path / "run")) == []


def test_a_state_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember(tmp_path / "run", ["a"])
    assert "run: that you started this run yourself cannot be noted" in caplog.text
    assert list(remembered(tmp_path / "run")) == []


def test_a_user_without_a_home_is_trusted_with_nothing_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", mock.Mock(side_effect=RuntimeError("Could not determine home directory.")))
    remember(tmp_path / "run", ["a"])
    assert "cannot be noted (no home folder of this user is known: name one by HOME)" in caplog.text
    assert list(remembered(tmp_path / "run")) == []
