"""Image files: there, missing, or led to by a link."""

from pathlib import Path

import pytest

from deta.data import CocoAnnotations, read_coco
from deta.data.files import require_files, unusable_files
from tests.data.folders import document, image, write_image, write_json


def named(folder: Path, *names: str) -> CocoAnnotations:
    images = [image(number, file_name=name) for number, name in enumerate(names, start=1)]
    return read_coco(write_json(folder / "a.json", document(images, [])))


def test_missing_files_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "images/1.png")
    (tmp_path / "images/folder").mkdir()
    annotations = named(tmp_path, "1.png", "2.png", "folder", "none/3.png", "x" * 300)
    assert unusable_files(annotations, tmp_path / "images").missing == ("2.png", "folder", "none/3.png", "x" * 300)
    with pytest.raises(FileNotFoundError, match=r"4 of 5 images do not exist in .*: 2\.png, folder"):
        require_files(annotations, tmp_path / "images")


def test_links_out_of_the_folder_are_refused_by_name(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere/1.png")
    write_image(tmp_path / "images/2.png")
    (tmp_path / "images/file.png").symlink_to(tmp_path / "elsewhere/1.png")
    (tmp_path / "images/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/inside.png").symlink_to("2.png")
    (tmp_path / "images/loop.png").symlink_to("loop.png")
    annotations = named(tmp_path, "file.png", "folder/1.png", "inside.png", "2.png", "loop.png")
    found = unusable_files(annotations, tmp_path / "images")
    assert found.leaving == ("file.png", "folder/1.png")
    assert found.missing == ("loop.png",)
    with pytest.raises(ValueError, match=r"2 of 4 images are links that lead out of .*: file\.png, folder/1\.png"):
        require_files(named(tmp_path, "file.png", "folder/1.png", "inside.png", "2.png"), tmp_path / "images")


def test_the_image_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere/1.png")
    (tmp_path / "images").symlink_to(tmp_path / "elsewhere")
    require_files(named(tmp_path, "1.png"), tmp_path / "images")


def test_a_missing_folder_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"check data\.root"):
        require_files(named(tmp_path, "1.png"), tmp_path / "none")
