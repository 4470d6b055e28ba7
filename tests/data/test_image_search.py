from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deta.data.image_search import find_images, image_suffixes


def photo(path: Path, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format=kind)
    return path


def test_images_are_found_in_the_order_of_their_paths(tmp_path: Path) -> None:
    paths = [photo(tmp_path / name) for name in ("b.png", "a.jpg", "c/a.webp")]
    assert find_images(str(tmp_path)).paths == tuple(sorted(paths))
    assert find_images(str(tmp_path / "*.png")).paths == (tmp_path / "b.png",)
    assert find_images(str(tmp_path / "b.png")).paths == (tmp_path / "b.png",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JPG", "JPEG"),
        ("a.jfif", "JPEG"),
        ("a.jpe", "JPEG"),
        ("a.mpo", "JPEG"),
        ("a.avif", "AVIF"),
        ("a.gif", "GIF"),
        ("a.jp2", "JPEG2000"),
        ("a.ppm", "PPM"),
        ("a.tga", "TGA"),
        ("a.webp", "WEBP"),
        ("a", "PNG"),
        ("a.2024-01-01", "PNG"),
        ("a.txt", "JPEG"),
    ],
)
def test_an_image_is_found_in_a_folder_by_its_suffix_or_its_content(tmp_path: Path, name: str, kind: str) -> None:
    assert find_images(tmp_path if photo(tmp_path / name, kind) else "").paths == (tmp_path / name,)


def test_suffixes_of_formats_that_are_not_read_are_none_of_ours() -> None:
    assert {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".avif"} <= image_suffixes()
    assert not {".eps", ".ps", ".iim", ".h5", ".wmf", ".mpg"} & image_suffixes()


def test_other_files_of_a_folder_are_left_out_and_named(tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "._a.jpg").write_bytes(bytes.fromhex("00051607") + bytes(100))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    found = find_images(tmp_path / "in")
    assert found.paths == (tmp_path / "in" / "a.jpg",)
    assert [path.name for path in found.left_out] == ["._a.jpg", "a.eps", "notes.txt"]
    assert found.left_out_report().startswith("3 files were left out")
    assert str(tmp_path / "in" / "notes.txt") in found.left_out_report()


def test_an_image_whose_name_begins_as_those_of_macos_is_found_by_its_content(tmp_path: Path) -> None:
    assert find_images(tmp_path if photo(tmp_path / "._a.jpg") else "").paths == (tmp_path / "._a.jpg",)


def test_a_broken_image_is_found_so_that_reading_it_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    assert find_images(tmp_path).paths == (tmp_path / "a.jpg",)


def test_links_that_lead_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    outside = photo(tmp_path / "outside.png")
    inside = photo(tmp_path / "in" / "inside.png")
    (tmp_path / "in" / "outside.png").symlink_to(outside)
    (tmp_path / "in" / "same.png").symlink_to(inside)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    for source in (tmp_path / "in", tmp_path / "in" / "*.png"):
        found = find_images(source)
        assert [path.name for path in found.paths] == ["inside.png", "same.png"]
        assert [path.name for path in found.left_out] == ["outside.png"]


def test_a_folder_named_by_a_number_and_one_that_is_a_link_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(Path("2024/a.png"))
    Path("link").symlink_to("2024")
    assert find_images(2024).paths == (Path("2024/a.png"),)
    assert find_images("link").paths == (Path("link/a.png"),)


@pytest.mark.parametrize("source", ["", "  ", None, True, ["a.png"]])
def test_a_source_that_names_nothing_is_refused(source: object) -> None:
    with pytest.raises(ValueError, match="source must name an image file, a folder or a quoted glob, got"):
        find_images(source)


def test_what_is_missing_is_named_with_what_is_like_it(tmp_path: Path) -> None:
    photo(tmp_path / "Photo.JPG", "JPEG")
    with pytest.raises(FileNotFoundError, match=r"photo.jpg: no such file.*Photo.JPG is there.*letter case"):
        find_images(tmp_path / "photo.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(FileNotFoundError, match=r"the folder holds no image \(1 file was left out.*notes.txt"):
        find_images(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"source=.*a\*\*b/c is neither a file nor a glob"):
        find_images(tmp_path / "a**b" / "c")
