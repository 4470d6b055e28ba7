"""``deta doctor``."""

from importlib.metadata import version

import pytest

from deta.commands import operator_check
from deta.console.extras import PURPOSES
from deta.utils.cpus import SPIN_COUNT
from tests.commands.running import fail, succeed


@pytest.fixture(autouse=True)
def small_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem that takes milliseconds."""
    monkeypatch.setattr(operator_check, "LEVELS", ((8, 10), (4, 5)))
    monkeypatch.setattr(operator_check, "NUM_QUERIES", 30)


def test_the_doctor_shows_versions_devices_and_the_error_of_every_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    lines = succeed("doctor").out.splitlines()
    assert f"torch              {version('torch')}" in lines
    assert any(line.startswith("device             cpu") for line in lines)
    assert f"GOMP_SPINCOUNT     {SPIN_COUNT}" in lines
    assert any(line.startswith("CPUs               ") and " usable (" in line for line in lines)
    for name in ("memory", "disk", "runs folder", "SLURM", "W&B"):
        assert any(line.startswith(f"{name:<18} ") for line in lines), name
    for name, purpose in PURPOSES.items():
        assert any(line.startswith(f"  {name} ") and line.endswith(purpose) for line in lines), name
    backends = [line.split()[:3] for line in lines if line.startswith("  cpu ")]
    assert backends == [["cpu", "cpu", "auto"], ["cpu", "reference", "relative"]]
    assert all(float(line.split()[-2]) > 0 and line.endswith(" ms") for line in lines if line.startswith("  cpu "))


def test_an_operator_that_is_off_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_check, "MAX_ERROR", 1e-12)
    assert "the attention operator is off by" in fail("doctor")
