"""The record of what a run was made with."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from deta.tracking import environment
from deta.tracking.environment import describe_run, git_state, package_versions


def git(folder: Path, *words: str) -> str:
    """Run git with a name of its own."""
    options = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *options, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with one commit, and the source file of ``environment`` in it, not yet added."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "other.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "start")
    source = tmp_path / "environment.py"
    source.write_text("")
    monkeypatch.setattr(environment, "__file__", str(source))
    return tmp_path


def test_the_record_is_plain_data_with_versions_and_seed() -> None:
    record = json.loads(json.dumps(describe_run(seed=3)))
    assert record["seed"] == 3
    assert record["versions"]["torch"] == version("torch")
    assert record["devices"][0].startswith("cpu")
    assert record["command"]


def test_a_package_that_is_not_installed_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    assert package_versions()["no-such-package"] == "not installed"


def test_the_commit_and_changes_of_the_checkout_are_found(checkout: Path) -> None:
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "add the source")
    assert git_state() == {"commit": git(checkout, "rev-parse", "HEAD"), "is_modified": False}
    (checkout / "environment.py").write_text("changed")
    state = git_state()
    assert state is not None
    assert state["is_modified"]


def test_a_package_inside_a_foreign_checkout_claims_no_commit(checkout: Path) -> None:
    assert git_state() is None


def test_a_package_outside_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None


def test_a_machine_without_git_has_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert git_state() is None
