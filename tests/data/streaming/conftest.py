"""Shards of a few images, in a folder and in an object store."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.streaming.sharded import object_store, write_both, write_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 training and 7 validation images as files; tests change nothing."""
    return write_folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="session")
def sharded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their shards, four and two; tests change nothing."""
    out = tmp_path_factory.mktemp("sharded")
    write_both(folder, out)
    return out


@pytest.fixture
def shards(sharded: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(sharded, tmp_path / "shards")


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Address in an object store that all tests of the session use."""
    with object_store() as address:
        yield address
