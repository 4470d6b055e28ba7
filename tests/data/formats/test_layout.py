import errno
import json
import os
from pathlib import Path
from unittest import mock

import pytest
import yaml

from deta.cli import config_dir
from deta.data.formats.layout import SplitFiles, annotation_file, coco_splits, image_folder, short_names, write_layout
from deta.data.formats.records import ForeignDataset, ForeignImage, ForeignObject
from deta.data.formats.source import SourceFolder
from tests.data.formats.sources import write_files


def files(tmp_path: Path, name: str = "a/x.png") -> dict[str, SplitFiles]:
    """One split of one image."""
    write_files(tmp_path, {}, images=("source/x.png",))
    return {"train": SplitFiles(b"{}", [(name, tmp_path / "source/x.png"), ("y.png", b"content")])}


def test_the_layout_is_that_which_the_data_set_coco_reads() -> None:
    conf = yaml.safe_load((config_dir() / "data/coco.yaml").read_text())
    for split in ("train", "val"):
        assert annotation_file(Path(), split) == Path(conf[f"{split}_annotations"])
        assert image_folder(Path(), split) == Path(conf[f"{split}_images"])


@pytest.mark.parametrize("transfer", ["hardlink", "symlink", "copy"])
def test_images_get_there_as_asked(tmp_path: Path, transfer: str) -> None:
    write_layout(tmp_path / "t", files(tmp_path), transfer=transfer)
    path, source = tmp_path / "t/train2017/a/x.png", tmp_path / "source/x.png"
    assert path.read_bytes() == source.read_bytes()
    assert (path.is_symlink(), source.stat().st_nlink) == (transfer == "symlink", 1 + (transfer == "hardlink"))
    assert (tmp_path / "t/train2017/y.png").read_bytes() == b"content"
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["annotations", "train2017"]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "t/train2017").mkdir(parents=True)
    with pytest.raises(FileExistsError, match=r"train2017 exists: remove it, or name another target"):
        write_layout(tmp_path / "t", files(tmp_path), transfer="copy")
    assert list((tmp_path / "t").iterdir()) == [tmp_path / "t/train2017"]


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "a/../../x.png"])
def test_no_image_is_written_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leaves the image folder"):
        write_layout(tmp_path / "t", files(tmp_path, name), transfer="copy")
    assert [path.name for path in (tmp_path / "t").rglob("*")] == ["annotations"]


def test_another_disk_is_told_with_what_to_do_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        mock.patch.object(os, "link", side_effect=OSError(errno.EXDEV, "Invalid cross-device link")),
        pytest.raises(OSError, match=r"Invalid cross-device link: take a target on the disk .* or transfer=copy"),
    ):
        write_layout(tmp_path / "t", files(tmp_path), transfer="hardlink")
    assert [path.name for path in (tmp_path / "t").rglob("*")] == ["annotations"]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    (tmp_path / "t/train2017.1.unfinished").mkdir(parents=True)
    write_layout(tmp_path / "t", files(tmp_path), transfer="copy")
    assert not list((tmp_path / "t").glob("*.unfinished"))


def test_an_image_of_two_splits_has_one_id_and_ids_run_on(tmp_path: Path) -> None:
    folder = SourceFolder(write_files(tmp_path, {}, images=("i/a.png", "i/b.png")))
    thing = ForeignObject("cat", (1, 2, 3, 4), 12, attributes={"key": {1: ("x", None)}})
    a, b = (ForeignImage(f"i/{name}.png", (30, 40), [thing, thing], {"night": True}) for name in "ab")
    dataset = ForeignDataset({"cat": {"id": 1, "name": "cat"}}, {"train": [a], "trainval": [a, b]})
    documents = {name: json.loads(split.document) for name, split in coco_splits(dataset, folder, "VOC").items()}
    assert [each["id"] for each in documents["trainval"]["annotations"]] == [1, 2, 3, 4]
    assert documents["train"]["images"] == [documents["trainval"]["images"][0]]
    assert documents["train"]["images"][0]["attributes"] == {"night": True}
    assert documents["train"]["annotations"][0]["attributes"] == {"key": {"1": ["x", None]}}


def test_a_split_without_an_image_and_a_set_without_an_object_are_refused(tmp_path: Path) -> None:
    folder = SourceFolder(write_files(tmp_path, {}, images=("a.png",)))
    with pytest.raises(ValueError, match="the split val has no image"):
        coco_splits(ForeignDataset({"cat": {}}, {"val": []}), folder, "VOC")
    with pytest.raises(ValueError, match="no image has an object"):
        coco_splits(ForeignDataset({}, {"val": [ForeignImage("a.png", (30, 40), [])]}), folder, "VOC")


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a/b/x.png", "a/b/c/x.png"], ["x.png", "c/x.png"]),
        (["a/x.png", "ab/x.png"], ["a/x.png", "ab/x.png"]),
        (["x.png", "a/x.png"], ["x.png", "a/x.png"]),
        (["x.png"], ["x.png"]),
    ],
)
def test_folders_that_all_images_lie_in_are_left_out_of_names(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short
