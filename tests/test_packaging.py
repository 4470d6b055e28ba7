"""The project as a package."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "src" / "deta" / "studies" / "report" / "assets"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("deta-*.whl"))


def test_wheel_holds_sources_configurations_and_kernels_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = ("deta/cli.py", "deta/conf/train.yaml", "deta_kernels/reference.py", "deta/py.typed")
    assets = tuple(f"deta/studies/report/assets/{path.name}" for path in ASSETS.iterdir())
    assert len(assets) > 0
    for name in (*files, *assets):
        assert name in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"deta", "deta_kernels"}


def test_installed_command_works_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    work = tmp_path / "work"
    work.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import deta.cli; "
        "assert 'site' in deta.cli.__file__; deta.cli.main(); assert 'torch' not in sys.modules"
    )
    words = [str(tmp_path / "site"), "train", "experiment=deta_shapes", "--cfg", "job"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=work, capture_output=True, text=True, check=True)
    assert "_target_: deta.losses.Criterion" in done.stdout


def test_lock_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    requirements = [line for line in lock.splitlines() if line and line[0] not in " #"]
    assert requirements
    assert all(line.endswith("\\") for line in requirements)


def test_a_checkout_that_is_not_installed_can_be_used() -> None:
    code = """
import importlib.metadata as metadata
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
import deta
print(deta.__version__)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "not installed"
