"""What a source may be."""

import io
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from deta.data.decoding import ImageError
from deta.data.images import ImageRules
from deta.inference import SourceOptions, arrivals, open_source
from deta.inference.addresses import picture_of_address, safe_stem
from deta.inference.outputs.base import Stems
from tests.inference.simple import grey, predictor


def names(source: object, options: SourceOptions | None = None, **given: io.BytesIO) -> list[str]:
    """The names of the pictures of a source."""
    return [picture.name for picture in open_source(source, options, **given).pictures]


def test_a_list_names_images_from_its_own_folder(tmp_path: Path) -> None:
    grey(tmp_path / "in" / "a.png", 1)
    grey(tmp_path / "b.png", 1)
    (tmp_path / "list.txt").write_text(f"# mine\nin/a.png\n\n{tmp_path}/b.png\n")
    assert names(tmp_path / "list.txt") == [f"{tmp_path}/in/a.png", f"{tmp_path}/b.png"]
    found = open_source(str(tmp_path / "list.txt"))
    assert (found.total, found.is_single) == (2, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n", "the list names no image"),
        (b"\xff\xfe\n", "line 1 is no text in UTF-8"),
        (b"a\0b\n", "line 1 is no name of a file"),
        (b"gone.png\n", "list.txt, a list of one image a line: .*gone.png: no such file or folder"),
        (b"~nobody-here/a.png\n", "~nobody-here/a.png: no such file or folder"),
        (b"list.txt\n", "the list names itself"),
    ],
)
def test_a_list_with_a_mistake_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=message):
        open_source(tmp_path / "list.txt")


def test_names_are_piped_in_line_by_line(tmp_path: Path) -> None:
    path = grey(tmp_path / "a.png", 1)
    assert names("-", standard_input=io.BytesIO(f"{path}\n{path}".encode())) == [str(path)] * 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "PPM"])
def test_an_image_is_piped_in(form: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (40, 20), (9, 9, 9)).save(content, format=form)
    (picture,) = open_source("-", standard_input=io.BytesIO(content.getvalue())).pictures
    assert picture.read(ImageRules()).pixels.shape == (3, 20, 40)


def test_nothing_piped_in_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="source=-: nothing was piped in"):
        open_source("-", standard_input=io.BytesIO())


def test_several_sources_of_different_kinds_become_one(tmp_path: Path) -> None:
    path = grey(tmp_path / "in" / "a.png", 1)
    found = open_source([path, np.zeros((9, 9, 3), np.uint8), tmp_path / "in"])
    assert found.total == 3
    assert [picture.name for picture in found.pictures] == [str(path), "image_2", str(path)]


@pytest.mark.parametrize("source", [None, True, 3.5, "", b"a.png", {}])
def test_what_is_no_source_is_refused_by_what_one_may_be(source: object) -> None:
    with pytest.raises(ValueError, match="source must name an image file, a folder, a quoted glob, a list of images"):
        open_source(source)


def test_a_folder_is_watched_for_what_arrives_once_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_SECONDS_BETWEEN_LOOKS", 0.15)
    grey(tmp_path / "first.png", 1)
    (tmp_path / "notes.md").write_text("no image")
    found = open_source(str(tmp_path), SourceOptions(watch=True, watch_seconds=0.6))

    def arrive() -> None:
        content = grey(tmp_path.parent / "whole.png", 1).read_bytes()
        (tmp_path / "later.png").write_bytes(content[:20])
        time.sleep(0.03)
        (tmp_path / "later.png").write_bytes(content)

    thread = threading.Timer(0.2, arrive)
    thread.start()
    results = list(predictor().stream(found.pictures))
    thread.join()
    assert [Path(result.name).name for result in results] == ["first.png", "later.png"]
    assert found.notes() == ["1 file was left out, as no image or as lying elsewhere"]


def test_nobody_watches_once_results_are_no_longer_taken(tmp_path: Path) -> None:
    grey(tmp_path / "first.png", 1)
    before = set(threading.enumerate())
    results = predictor().stream(open_source(tmp_path, SourceOptions(watch=True)).pictures)
    assert next(iter(results)).path == tmp_path / "first.png"
    results.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def test_watching_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="watch=true waits for images that arrive in a folder"):
        open_source(grey(tmp_path / "a.png", 1), SourceOptions(watch=True))


@pytest.mark.parametrize("options", [SourceOptions(every=2), SourceOptions(max_frames=9)])
def test_what_chooses_frames_is_not_passed_over_where_there_are_none(tmp_path: Path, options: SourceOptions) -> None:
    for source in (grey(tmp_path / "a.png", 1), tmp_path, [tmp_path / "a.png"] * 2):
        with pytest.raises(ValueError, match="every and max_frames are of videos and cameras, and source="):
            open_source(source, options)


def test_an_address_is_loaded_and_nothing_else_than_the_web_is_followed(tmp_path: Path) -> None:
    content = grey(tmp_path / "a.png", 1).read_bytes()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/away"):
                self.send_response(302)
                self.send_header("Location", f"file://{tmp_path}/a.png")
                self.end_headers()
                return
            self.send_response(200 if "a.png" in self.path else 404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        found = open_source(f"{base}/a.png?size=1")
        (picture,) = found.pictures
        assert found.is_single
        assert picture.stem == "a"
        assert picture.read(ImageRules()).pixels.shape == (3, 20, 40)
        for place in ("gone", "away"):
            with pytest.raises(ImageError, match=rf"image {base}/{place} cannot be loaded: "):
                picture_of_address(f"{base}/{place}").read(ImageRules())
    finally:
        server.shutdown()
        server.server_close()


def test_names_of_files_hold_nothing_that_leads_elsewhere() -> None:
    assert [safe_stem(text) for text in ("../../x", "..", "a b/c", "x" * 200)] == ["x", "image", "a_b_c", "x" * 80]


@pytest.mark.parametrize("image", [np.zeros((0, 9, 3), np.uint8), torch.zeros(3, 9, 0), torch.zeros(3, 300, 300)])
def test_what_the_caller_holds_is_bound_by_the_rules_of_files(image: object) -> None:
    (picture,) = open_source(image).pictures
    with pytest.raises(ImageError, match=r"the smallest side accepted is 8|at most 1000 are"):
        picture.read(ImageRules(max_pixels=1000))


@pytest.mark.parametrize("image", [torch.zeros(3, 9, 9, dtype=torch.uint8), np.zeros((3, 9, 9), np.uint8)])
def test_an_image_that_the_caller_changes_later_stays_what_it_was(image: torch.Tensor | NDArray[np.uint8]) -> None:
    (picture,) = open_source(image if isinstance(image, torch.Tensor) else image.transpose(1, 2, 0)).pictures
    image[:] = 7
    assert int(picture.read(ImageRules()).pixels.max()) == 0


def test_a_name_of_a_file_leaves_room_for_its_ending(tmp_path: Path) -> None:
    path = grey(tmp_path / f"{'a' * 9}{'漢' * 80}.png", 1)
    (result,) = predictor().stream(open_source(path).pictures)
    stem = Stems().of(result, 1)
    assert path.stem.startswith(stem)
    assert 200 < len(stem.encode()) <= 220


def test_no_two_images_share_a_name() -> None:
    stems = Stems()
    (result,) = predictor().stream(open_source(np.zeros((9, 9, 3), np.uint8)).pictures)
    fourth = replace(result, picture=replace(result.picture, stem="4_image"))
    assert [stems.of(result, number) for number in (1, 2)] == ["image", "2_image"]
    assert [stems.of(fourth, 3), stems.of(result, 4)] == ["4_image", "4_4_image"]
