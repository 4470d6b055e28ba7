"""The package of a user that a page of the documents shows."""

import re
from pathlib import Path

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "parts.md"
PACKAGE = "nearest_rule"
_EMPTY = re.compile(r"empty `([\w./]+)`")
_FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


def write_package(folder: Path) -> list[str]:
    """Write every file of the page; returns their names."""
    page = PAGE.read_text()
    files = {**dict.fromkeys(_EMPTY.findall(page), ""), **dict(_FILE.findall(page))}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return sorted(files)
