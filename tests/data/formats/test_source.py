from pathlib import Path

import pytest

from deta.data.formats.source import SourceFolder, inside_name
from tests.data.formats.sources import write_files


def test_all_files_are_named_from_the_folder_in_order(tmp_path: Path) -> None:
    folder = SourceFolder(write_files(tmp_path, {"b/c.txt": "", "a.txt": "\ufeffx"}, images=("B/x.PNG", "B/._x.png")))
    assert folder.names == ("B/._x.png", "B/x.PNG", "a.txt", "b/c.txt")
    assert folder.images == ("B/x.PNG",)
    assert folder.folders == {".", "B", "b"}
    assert folder.read_text("a.txt") == "x"


def test_links_out_of_the_folder_are_followed_on_request_alone(tmp_path: Path) -> None:
    write_files(tmp_path, {"out/secret.txt": "secret", "out/secret2.txt": ""})
    root = write_files(tmp_path / "set", {"a.txt": ""})
    (root / "file").symlink_to(tmp_path / "out/secret.txt")
    (root / "inside").symlink_to("a.txt")
    (root / "folder").symlink_to(tmp_path / "out")
    folder = SourceFolder(root)
    assert folder.names == ("a.txt", "inside")
    assert (
        "file that is a link out of the folder, set follow_links=true to follow links: file"
        in folder.problems.lines()[1]
    )
    assert "folder that is a link, set follow_links=true to follow links: folder" in folder.problems.lines()[0]
    with pytest.raises(ValueError, match="leads out of the folder"):
        folder.read_text("file")
    followed = SourceFolder(root, follow_links=True)
    assert followed.names == ("a.txt", "file", "folder/secret.txt", "folder/secret2.txt", "inside")
    assert followed.read_text("folder/secret.txt") == "secret"


def test_a_link_to_a_folder_above_does_not_lead_round_for_ever(tmp_path: Path) -> None:
    root = write_files(tmp_path, {"a/b.txt": ""})
    (root / "a" / "up").symlink_to(root)
    folder = SourceFolder(root, follow_links=True)
    assert folder.names == ("a/b.txt",)
    assert folder.problems.lines() == ["1 x link to a folder that it lies in: a/up"]


def test_a_text_that_is_not_utf8_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    folder = SourceFolder(tmp_path)
    assert folder.read_text("a.txt") == ""
    assert "text file that is not UTF-8: a.txt" in folder.problems.lines()[0]


def test_images_that_cannot_be_opened_are_faults_and_have_no_size(tmp_path: Path) -> None:
    folder = SourceFolder(write_files(tmp_path, {"a.png": "no image"}, images=("b.png",)))
    sizes = folder.sizes(folder.images, max_pixels=1200, num_workers=2)
    assert {name: size.stored for name, size in sizes.items()} == {"b.png": (30, 40)}
    assert "image a.png cannot be decoded" in folder.problems.lines()[0]
    assert not folder.sizes(["b.png"], max_pixels=1199, num_workers=1)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": ""})
    with pytest.raises(NotADirectoryError, match=r"a\.txt is a file: give the folder"):
        SourceFolder(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        SourceFolder(tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a/../b.png", "b.png"),
        ("./a\\b.png", "a/b.png"),
        ("../a.png", None),
        ("a/../../b.png", None),
        ("/etc/passwd", None),
        ("C:\\a.png", None),
        ("a\0.png", None),
    ],
)
def test_a_name_is_inside_or_none(name: str, inside: str | None) -> None:
    assert inside_name(name) == inside
