"""A file is fetched whole or not at all, and goes on where it broke off."""

from pathlib import Path

import pytest

from deta.zoo import download as downloading
from deta.zoo.download import PART, DownloadError, download
from tests.zoo.server import served

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that something is kept of the small files of these tests."""
    monkeypatch.setattr(downloading, "_CHUNK", 100)


def test_a_file_is_fetched_whole(tmp_path: Path) -> None:
    with served(a_pth=CONTENT) as server:
        download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_a_download_that_breaks_off_goes_on_by_itself(tmp_path: Path) -> None:
    with served(a_pth=CONTENT) as server:
        server.breaks += [1000, 500]
        download(f"{server.url}/a.pth", tmp_path / "a.pth", pause_s=0)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert [start for _, start in server.asked] == [0, 1000, 1500]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "ATTEMPTS", 1)
    with served(a_pth=CONTENT) as server:
        server.breaks.append(1000)
        with pytest.raises(DownloadError, match=r"a\.pth cannot be fetched"):
            download(f"{server.url}/a.pth", tmp_path / "a.pth")
        assert not (tmp_path / "a.pth").exists()
        assert (tmp_path / f"a.pth{PART}").read_bytes() == CONTENT[:1000]
        download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert [start for _, start in server.asked] == [0, 1000]


@pytest.mark.parametrize("tag", ['"another"', 'W/"weak"', None])
def test_a_file_that_may_have_changed_is_fetched_from_its_begin(tmp_path: Path, tag: str | None) -> None:
    changed = CONTENT[::-1]
    with served(a_pth=CONTENT) as server:
        if tag is None or tag.startswith("W/"):
            server.tags = {} if tag is None else {"/a.pth": tag}
        server.breaks.append(1000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(downloading, "ATTEMPTS", 1)
            with pytest.raises(DownloadError):
                download(f"{server.url}/a.pth", tmp_path / "a.pth")
        server.files["/a.pth"] = changed
        if tag is not None:
            server.tags["/a.pth"] = tag
        download(f"{server.url}/a.pth", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == changed


def test_what_is_longer_than_the_file_is_fetched_anew(tmp_path: Path) -> None:
    url = "/a.pth"
    with served(a_pth=CONTENT) as server:
        (tmp_path / f"a.pth{PART}").write_bytes(CONTENT + b"more")
        note = f'{{"url": "{server.url}{url}", "validator": "\\"{len(CONTENT)}\\""}}'
        (tmp_path / f"a.pth{PART}.json").write_text(note)
        download(f"{server.url}{url}", tmp_path / "a.pth", pause_s=0)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_a_part_that_is_another_one_is_not_put_behind_what_came_before(tmp_path: Path) -> None:
    with served(a_pth=CONTENT) as server:
        server.breaks, server.is_heedless = [len(CONTENT) // 2], True
        download(f"{server.url}/a.pth", tmp_path / "a.pth", pause_s=0)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_what_no_further_attempt_would_mend_is_told_at_once(tmp_path: Path) -> None:
    with served(a_pth=CONTENT, page_html=b"<html>") as server:
        server.kinds["/page.html"] = "text/html; charset=utf-8"
        with pytest.raises(DownloadError, match=r"b\.pth cannot be fetched: the server answers 404"):
            download(f"{server.url}/b.pth", tmp_path / "b.pth")
        with pytest.raises(DownloadError, match=r"page\.html cannot be fetched: it is a page, which needs a browser"):
            download(f"{server.url}/page.html", tmp_path / "page.html")
        with pytest.raises(DownloadError, match="it is no address of a file"):
            download("mirror/a.pth", tmp_path / "a.pth")
    assert len(server.asked) == 2
    assert not list(tmp_path.glob("*.pth"))


def test_a_server_that_is_gone_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    with served() as server:
        url = server.url
    with pytest.raises(DownloadError, match=r"a\.pth cannot be fetched: .*refused"):
        download(f"{url}/a.pth", tmp_path / "a.pth", pause_s=0)
