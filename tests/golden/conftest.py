"""Reference outputs, one test per case of the manifest.

A test names the kinds of cases it checks and receives one of them at a time::

    @pytest.mark.golden("matcher", "topk_per_gt")
    def test_matcher_equals_reference(case: ReferenceCase) -> None: ...

The set lies in ``DETA_GOLDEN_DIR``, default ``$DETA_SHARED/golden``. Any set of the same structure works:
nothing here or in the tests names a case or a shape.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.reference_cases import ReferenceCase, parameters, skipped

ROOT = Path(__file__).resolve().parents[2]


def golden_folder() -> Path:
    """Where the reference outputs should lie; the folder may be absent."""
    shared = os.environ.get("DETA_SHARED", str(ROOT.parent / "shared"))
    return Path(os.environ.get("DETA_GOLDEN_DIR", str(Path(shared) / "golden"))).resolve()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "golden(*kinds): run once for every reference case of these kinds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is not None:
        metafunc.parametrize("case", _parameters(golden_folder(), marker.args))


def _parameters(folder: Path, kinds: Sequence[str]) -> list[ParameterSet]:
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return [skipped(f"no reference outputs: {manifest} does not exist (set DETA_GOLDEN_DIR)")]
    cases = [case for case in ReferenceCase.of_manifest(manifest) if case.kind in kinds]
    return parameters(cases, f"{manifest} has no case of kind {', '.join(kinds)}")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of reference outputs, for files which the manifest does not list case by case."""
    folder = golden_folder()
    if not folder.is_dir():
        pytest.skip(f"no reference outputs: {folder} does not exist (set DETA_GOLDEN_DIR)")
    return folder
