import unicodedata
from pathlib import Path

import pytest

from deta.data.files import path_inside, with_similar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images as a labelling tool leaves them."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("002.png", "003.png", unicodedata.normalize("NFD", "caf\u00e9.png"), "sub/A.JPG"):
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    ("name", "meant", "difference"),
    [
        ("sub\\A.JPG", "sub/A.JPG", "backslashes"),
        ("003%2Epng", "003.png", "percent-encoding"),
        ("caf\u00e9.png", "cafe\u0301.png", "the Unicode form (NFC or NFD) of the letters"),
        ("SUB/a.jpg", "sub/A.JPG", "letter case"),
        ("sub/A.png", "sub/A.JPG", "the suffix"),
        ("002", "002.png", "the suffix"),
        (" 002.png", "002.png", "blanks at the ends"),
        ("train2017/002.png", "002.png", "the folders before it"),
        ("/data/images/002.png", "002.png", "the folders before it"),
        ("images\\003%2Epng", "003.png", "backslashes, percent-encoding, the folders before it"),
    ],
)
def test_the_file_that_is_meant_and_the_difference_are_named(
    folder: Path, name: str, meant: str, difference: str
) -> None:
    assert with_similar(folder, name) == f"{name} ({meant} is there, the difference: {difference})"


@pytest.mark.parametrize("name", ["004.png", "", ".", "..", "a" * 300, "sub", "\0.png", "002.png/x.png"])
def test_a_name_like_no_other_stands_alone(folder: Path, name: str) -> None:
    assert with_similar(folder, name) == name


def test_a_path_inside_is_found_through_a_folder_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (folder / "alias.png").symlink_to("002.png")
    assert path_inside(tmp_path / "link", "sub/../alias.png") == folder / "002.png"
    assert path_inside(folder, "new.png") == folder / "new.png"


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "/etc/passwd", "link", "up/secret"])
def test_a_path_that_leaves_its_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"leads out of the folder .*images, to "):
        path_inside(folder, name)


def test_links_may_leave_where_it_is_allowed_but_names_may_not(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path / "secret")
    assert path_inside(folder, "link", follow_links=True) == folder / "link"
    with pytest.raises(ValueError, match="leads out of the folder"):
        path_inside(folder, "../secret", follow_links=True)


def test_a_folder_whose_name_begins_as_another_is_outside(folder: Path) -> None:
    folder.with_name("images-more").mkdir()
    with pytest.raises(ValueError, match="leads out of the folder"):
        path_inside(folder, "../images-more/x.png")
