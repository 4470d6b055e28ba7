"""Reference outputs of the published systems, one test for each case of the manifests.

A test names the kinds of cases that it checks, and possibly the systems, and receives one of them at a time::

    @pytest.mark.reference("criterion", systems=("dino", "hdetr"))
    def test_losses_equal_the_reference(case: ReferenceCase) -> None: ...

The set lies in ``DETA_SYSTEMS_DIR``, default ``$DETA_SHARED/systems``. Any set of the same structure works: nothing
here or in the tests names a case or a shape.
"""

import os
from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

from tests.reference_cases import ReferenceCase, parameters, skipped

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ("manifest_deformable.json", "manifest_dense_attention.json", "manifest_dense.json")


def systems_folder() -> Path:
    """Where the reference outputs should lie; the folder may be absent."""
    shared = os.environ.get("DETA_SHARED", str(ROOT.parent / "shared"))
    return Path(os.environ.get("DETA_SYSTEMS_DIR", str(Path(shared) / "systems"))).resolve()


@cache
def read_systems(folder: Path) -> list[ReferenceCase]:
    """All cases of the manifests."""
    return [case for name in MANIFESTS for case in ReferenceCase.of_manifest(folder / name)]


def trains(case: ReferenceCase) -> bool:
    """Whether a case is one of training."""
    return case.kind == "model_train" or case.config.get("mode") == "train"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "reference(*kinds, systems=None, trains=None): run once for every case of these kinds and systems, and of "
        "those that train alone, or that do not",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("reference")
    if marker is None:
        return
    folder = systems_folder()
    if not all((folder / name).is_file() for name in MANIFESTS):
        absent = f"no reference outputs of systems in {folder} (set DETA_SYSTEMS_DIR)"
        metafunc.parametrize("case", [skipped(absent)])
        return
    systems: Collection[str] | None = marker.kwargs.get("systems")
    cases = [
        case
        for case in read_systems(folder)
        if case.kind in marker.args
        and (systems is None or case.config.get("system") in systems)
        and marker.kwargs.get("trains") in (None, trains(case))
    ]
    metafunc.parametrize("case", parameters(cases, f"{folder} has no case of kind {', '.join(marker.args)}"))


@pytest.fixture(scope="session")
def systems_dir() -> Path:
    """The folder of reference outputs, for files that the manifests do not list case by case."""
    folder = systems_folder()
    if not folder.is_dir():
        pytest.skip(f"no reference outputs of systems: {folder} does not exist (set DETA_SYSTEMS_DIR)")
    return folder
