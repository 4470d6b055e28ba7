"""The pages of ``docs/`` as a site."""

import logging
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}


def test_every_page_is_in_the_navigation_once() -> None:
    named = re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == PAGES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_site_builds_without_a_broken_link_and_asks_nobody_for_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    logging.getLogger("mkdocs").addHandler(logging.NullHandler())
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.html")}
    assert {Path(page).with_suffix(".html") for page in PAGES} <= set(pages)
    loaded = r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(https?:)?//"
    assert not [page for page, text in pages.items() if re.search(loaded, text)]
    assert "IoUAssigner" in pages[Path("api.html")]
