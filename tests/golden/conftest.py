"""Reference outputs, one test per case of the manifest.

A test names the kinds of cases it checks and receives one of them at a time::

    @pytest.mark.golden("matcher", "topk_per_gt")
    def test_matcher_equals_reference(case: GoldenCase) -> None: ...

The set lies in ``DETA_GOLDEN_DIR``, default ``$DETA_SHARED/golden``. Any set of the same structure works:
nothing here or in the tests names a case or a shape.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class GoldenCase:
    """One case of the manifest; its arrays are read when first asked for.

    Attributes:
        path: The ``.npz`` file.
        name: Name of the case inside the file.
        kind: What the case checks.
        config: Every hyper-parameter of the case.
    """

    path: Path
    name: str
    kind: str
    config: dict[str, Any]

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Arrays that the reference was given."""
        return self._read("in")

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers under the names of the reference."""
        return self._read("state")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """Arrays that the reference returned."""
        return self._read("out")

    def other(self, file: str, name: str) -> "GoldenCase":
        """Another case of the same set, for cases which refer to the arrays of a second file."""
        return next(case for case in read_cases(self.path.parent) if (case.path.name, case.name) == (file, name))

    def spatial_shapes(self) -> tuple[tuple[int, int], ...]:
        """The input of that name as a tuple of ``(height, width)``."""
        return tuple((int(height), int(width)) for height, width in self.inputs["spatial_shapes"])

    def _read(self, part: str) -> dict[str, Tensor]:
        prefix = f"{self.name}/{part}/"
        with np.load(self.path) as archive:
            names = [name for name in archive.files if name.startswith(prefix)]
            return {name.removeprefix(prefix): torch.from_numpy(np.array(archive[name])) for name in names}


def golden_folder() -> Path:
    """Where the reference outputs should lie; the folder may be absent."""
    shared = os.environ.get("DETA_SHARED", str(ROOT.parent / "shared"))
    return Path(os.environ.get("DETA_GOLDEN_DIR", str(Path(shared) / "golden"))).resolve()


def read_cases(folder: Path) -> list[GoldenCase]:
    """Every case of the manifest in ``folder``, in the order of the manifest."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return [
        GoldenCase(folder / file, name, entry["kind"], entry.get("config", {}))
        for file, content in files.items()
        for name, entry in content.get("cases", {}).items()
    ]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "golden(*kinds): run once for every reference case of these kinds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("golden")
    if marker is not None:
        metafunc.parametrize("case", _parameters(golden_folder(), marker.args))


def _parameters(folder: Path, kinds: Sequence[str]) -> list[ParameterSet]:
    if not (folder / "manifest.json").is_file():
        return [_skipped(f"no reference outputs: {folder}/manifest.json does not exist (set DETA_GOLDEN_DIR)")]
    cases = [case for case in read_cases(folder) if case.kind in kinds]
    if not cases:
        return [_skipped(f"{folder}/manifest.json has no case of kind {', '.join(kinds)}")]
    return [pytest.param(case, id=f"{case.path.stem}-{case.name}") for case in cases]


def _skipped(reason: str) -> ParameterSet:
    return pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of reference outputs, for files which the manifest does not list case by case."""
    folder = golden_folder()
    if not folder.is_dir():
        pytest.skip(f"no reference outputs: {folder} does not exist (set DETA_GOLDEN_DIR)")
    return folder
