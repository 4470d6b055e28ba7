"""docs/moved.md says of every former name what is there now."""

import re
from pathlib import Path

import pytest

from deta.runs import former
from deta.runs.former_words import CHOICES
from tests.commands.running import deta, fail
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "moved.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, tuple[str, ...]]:
    """The table under a heading: first column to the names in the second."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| (.+) \|$", part, re.MULTILINE)
    return {before: tuple(re.findall(r"`([^`]+)`", now)) for before, now in found}


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("Keys", former.KEYS),
        ("Modules of classes", former.MODULES),
        ("Classes", former.CLASSES),
        ("Arguments", former.ARGUMENTS),
        ("Weights", former.WEIGHTS),
    ],
)
def test_a_table_of_the_page_is_that_of_the_code(heading: str, table: dict[str, str]) -> None:
    assert rows(heading) == {before: (now,) for before, now in table.items()}


def test_the_choices_of_the_page_are_those_of_the_code() -> None:
    assert rows("Choices") == CHOICES


def test_overrides_of_the_page_are_taken_in_a_file_of_ones_own(tmp_path: Path) -> None:
    overrides = [now for (now,) in rows("Files of your own").values()]
    assert len(overrides) > 5
    folder = tmp_path / "experiment"
    folder.mkdir()
    chosen = {now.rpartition(":")[0]: now for now in overrides}.values()  # a group is overridden once
    entries = "\n".join(f"  - {now}" for now in chosen)
    (folder / "mine.yaml").write_text(f"# @package _global_\ndefaults:\n{entries}\n")
    outcome = deta("train", "experiment=mine", f"--config-dir={tmp_path}", "--cfg", "job")
    assert outcome.code == 0, outcome.err


def test_the_experiment_of_the_page_composes(tmp_path: Path) -> None:
    (content,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(content)
    outcome = deta("train", "experiment=mine", f"--config-dir={tmp_path}", "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert "HungarianAssigner" in outcome.out


@pytest.mark.parametrize("before", rows("Files of your own"))
def test_a_defaults_list_with_a_former_group_is_refused_with_what_to_write(before: str, tmp_path: Path) -> None:
    message = refused(f"defaults:\n  - deta_shapes\n  - {before}\n", tmp_path)
    (now,) = rows("Files of your own")[before]
    assert now.partition(":")[0] in message
    assert "docs/moved.md" in message


def test_former_keys_and_classes_in_a_file_are_refused_with_their_present_names(tmp_path: Path) -> None:
    own = "callbacks:\n  mine:\n    _target_: deta.engine.callbacks.DataWait\nmodel:\n  hidden_dim: 32\n"
    rules = "  rules:\n    layers:\n      assigner:\n        gamma: 1.5\n"
    defaults = "defaults:\n  - deta_shapes\n  - override /rule: hungarian\n  - _self_\n"
    message = refused(f"{defaults}criterion:\n  rematch: per_layer\n{rules}{own}", tmp_path)
    for before, now in (
        ("criterion.rematch", "criterion.rules.layers.rematch"),
        ("criterion.rules.layers.assigner.gamma", "criterion.rules.layers.assigner.focusing"),
        ("model.hidden_dim", "model.body.hidden_dim"),
        ("deta.engine.callbacks.DataWait", "deta.training.callbacks.DataWait"),
    ):
        assert f"{before} is {now}" in message


def refused(experiment: str, folder: Path) -> str:
    """What is said of an experiment of one's own."""
    (folder / "experiment").mkdir()
    (folder / "experiment" / "own.yaml").write_text(f"# @package _global_\n{experiment}")
    return fail("train", "experiment=own", f"hydra.searchpath=[file://{folder}]", "--cfg", "job")
