"""The extras of the package: what each is for, and what of it is installed. Nothing here imports any of them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from deta import DISTRIBUTION

PURPOSES: Mapping[str, str] = {
    "export": "deta export",
    "fast-eval": "evaluator=fast, and LVIS",
    "hotcoco": "evaluator=hotcoco",
    "mlflow": "logger=mlflow",
    "optuna": "deta search",
    "streaming": "shards in an object store",
    "submitit": "cluster=submitit",
    "tensorboard": "logger=tensorboard",
    "video": "videos, cameras and streams of deta predict",
}
"""What an extra of ``pyproject.toml`` is for."""
_REQUIREMENT = re.compile(r"([\w.-]+).*;.*extra == ['\"]([\w.-]+)['\"]")


@dataclass(frozen=True)
class Extra:
    """An extra.

    Attributes:
        name: As in ``pip install '.[name]'``.
        purpose: What it is for; empty where that is not known.
        packages: Distributions that it needs, and their versions; None where one is not installed.
    """

    name: str
    purpose: str
    packages: Mapping[str, str | None]

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [package for package, found in self.packages.items() if found is None]


def known_extras(distribution: str = DISTRIBUTION) -> list[Extra]:
    """All extras by name; none where the package runs without being installed."""
    try:
        names = metadata(distribution).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []
    needed = list(_needed(distribution))
    return [
        Extra(name, PURPOSES.get(name, ""), {package: _version(package) for extra, package in needed if extra == name})
        for name in sorted(names)
    ]


def advice_on_missing(module: str | None) -> str | None:
    """One sentence on a module that cannot be imported, if it comes with an extra."""
    first = (module or "").partition(".")[0]
    for extra in known_extras():
        for package in extra.missing:
            if package.replace("-", "_").lower() == first.lower():
                use = f", which {extra.purpose} needs" if extra.purpose else ""
                return f"{package} is not installed{use}: pip install {package} (extra {extra.name})"
    return None


def _needed(distribution: str) -> Iterator[tuple[str, str]]:
    """Extra and package of every requirement of an extra."""
    for line in requires(distribution) or []:
        found = _REQUIREMENT.match(line)
        if found is not None:
            yield found[2], found[1]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
