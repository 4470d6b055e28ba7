"""What all tests of building have."""

import pytest

from deta.building import build


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test tries its steps, whatever this process has tried before."""
    monkeypatch.setattr(build, "_TRIED", set())
