"""Fixtures of the commands' tests: generated data and one small trained run."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from tests.commands.running import TINY_TRAINING, Outcome, succeed


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: Its run directory.
        outcome: What the command wrote.
    """

    folder: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of everything that the commands read and write."""
    return tmp_path_factory.mktemp("deta")


@pytest.fixture(autouse=True)
def environment(workplace: Path) -> Iterator[None]:
    """The variables that ``conf/paths`` reads, and no login anywhere."""
    with _environment(workplace):
        yield


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else this machine does, such as other tests, is no matter of these commands' messages."""
    monkeypatch.setattr("deta.commands.train.cpu_times", lambda: None)


@pytest.fixture(autouse=True)
def choices_that_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are tested with parts that are known to suit each other: what tries a step has tests of its own."""
    monkeypatch.setattr("deta.building.build.require_step", lambda *_, **__: None)


@pytest.fixture(scope="session")
def trained(workplace: Path) -> Run:
    """A run of one epoch; tests read it and change nothing."""
    with _environment(workplace):
        outcome = succeed("train", *TINY_TRAINING, f"hydra.run.dir={workplace}/trained")
    return Run(workplace / "trained", outcome)


@pytest.fixture
def own_run(trained: Run, tmp_path: Path) -> Path:
    """A copy of the same run, for a test that changes it."""
    return shutil.copytree(trained.folder, tmp_path / "own")


def _environment(workplace: Path) -> mock._patch_dict:
    """Environment variables for commands, until the end of the ``with`` block."""
    variables = {"DETA_CACHE": "cache", "DETA_RUNS": "runs", "DETA_DATA": "data", "HOME": "home"}
    changed = {name: str(workplace / folder) for name, folder in variables.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "DETA_"))}
    return mock.patch.dict(os.environ, {**kept, **changed}, clear=True)
