"""Small data sets of other formats, and reading them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deta.data.formats.records import ForeignDataset, ImportOptions
from deta.data.formats.source import SourceFolder
from tests.data.folders import write_image

Reader = Callable[[SourceFolder, ImportOptions], ForeignDataset]


def write_files(root: Path, files: Mapping[str, object], *, images: tuple[str, ...] = ()) -> Path:
    """Write texts, or JSON of what is no text, and pictures of 30 x 40 pixels."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    for seed, name in enumerate(images):
        write_image(root / name, seed=seed)
    return root


def read(reader: Reader, root: Path, **options: Any) -> tuple[ForeignDataset, str]:  # noqa: ANN401 - of any reader
    """What a reader gives of a folder without faults, and what it tells."""
    folder = SourceFolder(root)
    dataset = reader(folder, ImportOptions(**options))
    folder.problems.raise_if_any()
    return dataset, "\n".join([*dataset.decisions, *folder.notes.lines()])


def faults(reader: Reader, root: Path, **options: Any) -> str:  # noqa: ANN401 - as above
    """What a reader finds wrong with a folder."""
    folder = SourceFolder(root)
    reader(folder, ImportOptions(**options))
    lines = folder.problems.lines()
    assert lines
    return "\n".join(lines)
