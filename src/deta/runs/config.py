"""The settings of a run as they lie in its directory: data, whoever has written them; nothing here needs PyTorch."""

import re
from pathlib import Path
from typing import Any

from deta.runs.former import with_present_names
from deta.utils.files import read_yaml

_SECTIONS = ("data", "postprocess", "trainer")
"""What a configuration has that was written to its end, beside its seed."""


def read_config(path: Path) -> dict[str, Any]:
    """A resolved configuration of a run, with the present names of its keys and classes.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or holds references, of which a resolved one has none.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("seed"), int):
        raise ValueError(f"{path} is damaged: it holds no seed")
    missing = [name for name in _SECTIONS if not isinstance(content.get(name), dict)]
    if missing:
        raise ValueError(f"{path} is damaged: it holds no {missing[0]}")
    if _refers(content):
        raise ValueError(f"{path} is damaged: it refers to other values by ${{...}}, which no record of a run does")
    try:
        return with_present_names(content)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def started_from(ckpt: object, folder: Path) -> str | None:
    """The run or checkpoint outside of its own folder that ``ckpt`` of a run names, as an absolute path; else None."""
    if not isinstance(ckpt, str) or ckpt == "auto":
        return None
    path = Path(ckpt).resolve()
    return None if path.is_relative_to(folder.resolve()) else str(path)


def part_files(folder: Path, name: str) -> list[Path]:
    """The records of that name of a run, such as ``config.yaml``, ``config-1.yaml``, in the order of its parts."""
    stem, suffix = name.split(".")
    pattern = re.compile(rf"{stem}(?:-(\d+))?\.{suffix}")
    found = [(match, path) for path in folder.glob(f"{stem}*.{suffix}") if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted((int(match[1] or 0), path) for match, path in found)]


def _refers(value: Any) -> bool:  # noqa: ANN401 - plain containers
    if isinstance(value, dict):
        return any(map(_refers, (*value.keys(), *value.values())))
    return any(map(_refers, value)) if isinstance(value, list) else "${" in str(value)
