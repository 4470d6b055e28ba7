"""The notebooks of the documents run, and say what they show."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"


def printed(notebook: NotebookNode) -> list[str]:
    """What each cell prints."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(each.get("text", "") for each in cell.outputs if each.get("name") == "stdout") for cell in cells]


def ran(name: str, folder: Path) -> tuple[NotebookNode, NotebookNode]:
    """The notebook as it is stored, and as it is after it has run."""
    path = NOTEBOOKS / f"{name}.ipynb"
    stored, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return stored, notebook


def test_every_notebook_of_the_documents_is_run_here() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {"rules", "first_detector"}


@pytest.mark.gate
def test_rules_are_compared_as_shown(tmp_path: Path) -> None:
    stored, found = ran("rules", tmp_path)
    assert printed(found) == printed(stored)
    assert any(printed(stored))


@pytest.mark.slow
def test_a_first_detector_is_trained_and_used(tmp_path: Path) -> None:
    _, found = ran("first_detector", tmp_path)
    assert any("AP50" in text for text in printed(found))
    assert len(list(tmp_path.glob("runs/demo/*/done.json"))) == 1
