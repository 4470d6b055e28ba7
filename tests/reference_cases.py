"""Cases of a set of reference outputs: a manifest and files of arrays."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor


@dataclass(frozen=True)
class ReferenceCase:
    """One case of a manifest; its arrays are read when first asked for.

    Attributes:
        path: The ``.npz`` file.
        name: Name of the case inside the file.
        kind: What the case checks.
        config: Every hyper-parameter of the case.
        siblings: All cases of the manifest by file and name.
    """

    path: Path
    name: str
    kind: str
    config: dict[str, Any]
    siblings: Mapping[tuple[str, str], "ReferenceCase"] = field(repr=False, compare=False)

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Arrays that the reference was given, those of other cases that it refers to among them."""
        given: dict[str, Tensor] = {}
        for key in ("in_from", "features_from"):
            if key in self.config:
                given |= self.other(self.config[key]).inputs
        return given | self._read("in")

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers under the names of the reference; its own go before those of another case."""
        given = self.other(self.config["state_from"]).state if "state_from" in self.config else {}
        return given | self._read("state")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """Arrays that the reference returned."""
        return self._read("out")

    def other(self, place: str | list[str] | tuple[str, str]) -> "ReferenceCase":
        """Another case of the set: its name in the same file, or file and name."""
        file, name = (self.path.name, place) if isinstance(place, str) else place
        return self.siblings[file, name]

    def spatial_shapes(self) -> tuple[tuple[int, int], ...]:
        """The input of that name as a tuple of ``(height, width)``."""
        return tuple((int(height), int(width)) for height, width in self.inputs["spatial_shapes"])

    def _read(self, part: str) -> dict[str, Tensor]:
        prefix = f"{self.name}/{part}/"
        with np.load(self.path) as archive:
            names = [name for name in archive.files if name.startswith(prefix)]
            return {name.removeprefix(prefix): torch.from_numpy(np.array(archive[name])) for name in names}

    @classmethod
    def of_manifest(cls, manifest: Path) -> list[Self]:
        """Every case, in the order of the manifest. A kind ``<system>_<kind>`` loses the name of its system."""
        siblings: dict[tuple[str, str], ReferenceCase] = {}
        cases = []
        for file, content in json.loads(manifest.read_text())["files"].items():
            for name, entry in content.get("cases", {}).items():
                config = entry.get("config", {})
                kind = entry["kind"].removeprefix(f"{config.get('system', '')}_")
                case = cls(manifest.parent / file, name, kind, config, siblings)
                siblings[file, name] = case
                cases.append(case)
        return cases


def parameters(cases: list[ReferenceCase], reason: str) -> list[ParameterSet]:
    """One test for every case, or one that is skipped for ``reason``."""
    if not cases:
        return [skipped(reason)]
    return [pytest.param(case, id=f"{case.path.stem}-{case.name}") for case in cases]


def skipped(reason: str) -> ParameterSet:
    """In place of cases that are absent."""
    return pytest.param(None, id="absent", marks=pytest.mark.skip(reason=reason))
