"""The tables of files in docs/tracking.md against the files that trainings and evaluations write."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.commands.conftest import Run
from tests.commands.running import succeed

PAGE = Path(__file__).parents[2] / "docs" / "tracking.md"
TRAINING, EVALUATION = (
    dict(re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", table, re.MULTILINE))
    for table in PAGE.read_text(encoding="utf-8").split("| file | there | content |")[1:]
)
"""What stands in the first column, to when such files are there."""


def patterns(cell: str) -> list[str]:
    """What the names of a cell mean as globs; a folder means all in it."""
    names = [re.sub(r"<\w+>", "*", name) for name in re.findall("`([^`]+)`", cell)]
    return [f"{name}*" if name.endswith("/") else name for name in names]


def files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def unnamed(folder: Path, table: dict[str, str]) -> list[str]:
    """Files of a folder that a table does not name."""
    known = [pattern for cell in table for pattern in patterns(cell)]
    return [name for name in files(folder) if not any(fnmatch(name, pattern) for pattern in known)]


def absent(folder: Path, table: dict[str, str], *when: str) -> list[str]:
    """Globs of a table that no file of a folder fits."""
    expected = [pattern for cell, there in table.items() if there in when for pattern in patterns(cell)]
    return [pattern for pattern in expected if not any(fnmatch(name, pattern) for name in files(folder))]


def test_the_page_names_every_file_of_a_run(trained: Run) -> None:
    assert not unnamed(trained.folder, TRAINING)
    assert not absent(trained.folder, TRAINING, "always", "finished")


def test_the_page_names_every_file_of_an_evaluation_and_the_layout_of_its_predictions(
    trained: Run, tmp_path: Path
) -> None:
    succeed("eval", f"ckpt={trained.folder}", "save_raw=true", f"hydra.run.dir={tmp_path}")
    assert not unnamed(tmp_path, EVALUATION)
    assert not absent(tmp_path, EVALUATION, "always", "COCO's rules", "`save_raw=true`")
    (shown,) = re.findall(r"```json\n(.+)\n```", PAGE.read_text(encoding="utf-8"))
    assert list(json.loads(shown)[0]) == list(json.loads((tmp_path / "predictions.json").read_text())[0])


@pytest.mark.slow
def test_the_page_names_every_file_of_a_continued_run_with_further_selections(own_run: Path) -> None:
    words = ("trainer.max_epochs=2", "+postprocess@evaluations.nms=nms")
    succeed("train", f"ckpt={own_run}", *words)
    assert not unnamed(own_run, TRAINING)
    assert not absent(own_run, TRAINING, "always", "finished", "continued", "`evaluations` or a study")
