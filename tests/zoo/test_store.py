"""Weights by name: from a folder, from a mirror, checked."""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from deta.zoo import Entry, Places, find, store, table
from deta.zoo.download import DownloadError
from tests.zoo.server import Served, served

CONTENT = b"weights" * 100
SUM = hashlib.sha256(CONTENT).hexdigest()
WORDS = ("system=detr",)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The publisher of three sets of weights, which are the whole table."""
    with served(known_pth=CONTENT, unknown_pth=CONTENT, page_pth=CONTENT) as running:
        common: dict[str, Any] = {"words": WORDS, "repository": "r", "licence": "MIT"}
        sources = MappingProxyType({"sha256": "where.md"})
        known = Entry("known", url=f"{running.url}/known.pth", sha256=SUM[:8], read_in=sources, **common)
        unknown = Entry("unknown", url=f"{running.url}/unknown.pth", **common)
        page = Entry("page", url=f"{running.url}/page", needs_browser=True, note="second row", **common)
        weights: Mapping[str, Entry] = {each.name: each for each in (known, unknown, page)}
        monkeypatch.setattr(table, "entries", lambda: weights)
        yield running


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(folder=tmp_path / "folder", cache=tmp_path / "cache")


def test_weights_are_downloaded_once(server: Served, places: Places) -> None:
    first, second = find("known", places), find("known", places)
    assert first == second == places.downloads / "known.pth"
    assert first.read_bytes() == CONTENT
    assert server.asked == [("/known.pth", 0)]


def test_of_several_at_once_one_downloads(server: Served, places: Places) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: find("known", places), range(8)))
    assert found == {places.downloads / "known.pth"}
    assert len(server.asked) == 1


def test_a_folder_serves_without_a_network(server: Served, places: Places) -> None:
    places.folder.mkdir()
    (places.folder / "known.pth").write_bytes(CONTENT)
    (places.folder / "page.pth").write_bytes(b"saved by a person")
    assert find("known", places) == places.folder / "known.pth"
    assert find("page", places) == places.folder / "page.pth"
    assert server.asked == []


def test_a_mirror_stands_in_for_the_publications_and_their_pages(server: Served, places: Places) -> None:
    server.files = {f"/m/{name}.pth": CONTENT for name in ("known", "page")}
    mirrored = Places(places.folder, places.cache, mirror=f"{server.url}/m/")
    assert find("known", mirrored).read_bytes() == CONTENT
    assert find("page", mirrored).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"/m/unknown\.pth cannot be fetched: .* 404 .*DETA_WEIGHTS"):
        find("unknown", mirrored)


def test_a_download_with_another_sum_than_the_published_is_removed(server: Served, places: Places) -> None:
    server.files["/known.pth"] = b"something else"
    with pytest.raises(DownloadError, match=rf"is not known, and was removed: .*where\.md\) {SUM[:8]}"):
        find("known", places)
    assert not (places.downloads / "known.pth").exists()
    server.files["/known.pth"] = CONTENT
    assert find("known", places).read_bytes() == CONTENT


def test_a_damaged_file_is_refused_with_the_remedy(server: Served, places: Places) -> None:
    path = find("known", places)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"known\.pth is damaged .*: remove it, and it is downloaded anew"):
        find("known", places)


def test_a_sum_that_was_not_published_is_that_of_the_first_time(server: Served, places: Places) -> None:
    path = find("unknown", places)
    record = places.downloads / "unknown.pth.sha256"
    assert record.read_text() == f"{SUM}  unknown.pth\n"
    path.unlink()
    server.files["/unknown.pth"] = b"another one"
    with pytest.raises(DownloadError, match=rf"and was {SUM} "):
        find("unknown", places)


def test_weights_behind_a_page_name_it_and_where_to_save_the_file(server: Served, places: Places) -> None:
    message = rf"need a browser: {server.url}/page \(second row\): save the file as page\.pth in {places.folder}"
    with pytest.raises(DownloadError, match=message):
        find("page", places)
    assert server.asked == []


def test_an_unknown_name_is_told_the_nearest(server: Served, places: Places) -> None:
    with pytest.raises(ValueError, match="no published weights named knwn; did you mean known"):
        find("knwn", places)


def test_the_environment_says_where() -> None:
    environment = {"DETA_WEIGHTS": "/w", "DETA_CACHE": "/c", store.MIRROR: "https://mirror.example"}
    assert Places.of_environment(environment) == Places(Path("/w"), Path("/c"), "https://mirror.example")
    assert Places.of_environment({"HOME": "/h"}).downloads == Path("/h/.cache/deta/weights")
