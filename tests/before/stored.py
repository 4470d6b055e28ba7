"""What an older state of the code has left, unpacked, and what it has come to there."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent / "data"
RUNS = ("deta_shapes", "one_to_one", "release", "averaged")

_NOTE = re.compile(r"assign/[^/]+/(rescued|contested|cut)_")
"""Figures of what only the rule knows."""


def unpack(part: str, folder: Path) -> Path:
    """The file or folder of this name, in a new place."""
    with tarfile.open(DATA / "stored.tar.xz") as archive:
        members = [entry for entry in archive.getmembers() if entry.name.split("/")[0] == part]
        archive.extractall(folder, members, filter="data")
    return folder / part


def end_of(run: str) -> dict[str, Any]:
    """What the older code has made of a run that it went on with, see ``scripts.reference.outcome``."""
    with tarfile.open(DATA / "stored.tar.xz") as archive:
        file = archive.extractfile("ends.json")
        assert file is not None
        ends: dict[str, dict[str, Any]] = json.load(file)
    return ends[run]


def require_same_rows(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Rows of metrics with the same names, and the same numbers to the tolerance of another order of sums.

    Notes of a rule have more figures now, and a rule that has none reports none where it reported zeros.
    """
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        kept = {name: value for name, value in other.items() if name in row or not _NOTE.match(name) or value != 0}
        same = {name: value for name, value in row.items() if name in other or not _NOTE.match(name)}
        assert same.keys() == kept.keys()
        assert same == pytest.approx(kept, rel=1e-4, abs=1e-6, nan_ok=True), other
