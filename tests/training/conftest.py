"""Fixtures of the tests of the training loop."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated pictures are kept, so that tests with one recipe share them."""
    return tmp_path_factory.mktemp("cache")
