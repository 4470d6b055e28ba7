"""The project as a package."""

import os
import re
import shutil
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
    return next(folder.glob("deta_detection-*.whl"))


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


@pytest.mark.slow
def test_the_commands_of_the_image_make_an_environment_in_which_deta_works(tmp_path: Path) -> None:
    source, environment = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    variables = {**os.environ, "VIRTUAL_ENV": str(environment), "PATH": f"{environment}/bin:{os.environ['PATH']}"}
    commands = re.findall(r"^RUN (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        subprocess.run(["sh", "-ec", command], cwd=source, env=variables, check=True)
    work = tmp_path / "work"
    work.mkdir()
    words = [str(environment / "bin" / "deta"), "train", "experiment=deta_shapes", "--cfg", "job"]
    done = subprocess.run(words, cwd=work, env=variables, capture_output=True, text=True, check=True)
    assert "_target_: deta.losses.Criterion" in done.stdout
    where = [str(environment / "bin" / "python"), "-c", "import deta; print(deta.__file__)"]
    done = subprocess.run(where, cwd=work, env=variables, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(environment)
