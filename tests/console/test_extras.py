"""The extras of the package."""

import tomllib

import pytest

from deta.console import extras
from deta.console.extras import PURPOSES, advice_on_missing, known_extras
from deta.console.terminal import describe
from tests.conftest import ROOT


def test_every_extra_of_the_project_has_a_purpose() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert PURPOSES.keys() == project["optional-dependencies"].keys()


def test_what_an_extra_needs_is_known_with_its_version() -> None:
    (optuna,) = [extra for extra in known_extras() if extra.name == "optuna"]
    assert optuna.packages.keys() == {"optuna"}
    assert optuna.missing == []
    assert known_extras("no-such-distribution") == []


def test_a_missing_package_of_an_extra_is_told_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_version", lambda _: None)
    advice = "faster-coco-eval is not installed, which evaluator=fast, and LVIS needs: pip install faster-coco-eval"
    assert advice_on_missing("faster_coco_eval.core") == f"{advice} (extra fast-eval)"
    assert describe(ModuleNotFoundError("No module named 'optuna'", name="optuna")).startswith(
        "optuna is not installed"
    )
    assert advice_on_missing("numpy") is None
    assert describe(ModuleNotFoundError("No module named 'mine'", name="mine")) == "No module named 'mine'"
