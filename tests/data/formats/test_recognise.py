from pathlib import Path

import pytest

from deta.data.coco_json import require_annotation_file
from deta.data.formats.recognise import import_hint, recognised_format
from tests.data.formats.sources import write_files
from tests.data.formats.writers import labelme_content


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"data.yaml": "train: images\nnames: [a]\n"}, "yolo"),
        ({"classes.txt": "a\n", "x.txt": ""}, "yolo"),
        ({"labels/train/x.txt": "0 0.5 0.5 0.1 0.1"}, "yolo"),
        ({"train/labels/x.txt": "0 0.5 0.5 0.1 0.1\n"}, "yolo"),
        ({"VOC2007/Annotations/x.xml": "<annotation></annotation>"}, "voc"),
        ({"annotations/x.xml": '<?xml version="1.0"?>\n<annotation verified="yes">'}, "voc"),
        ({"x.json": labelme_content([], "x.png")}, "labelme"),
        ({"x.json": {**labelme_content([], "x.png"), "a": "x" * 10**6}}, "labelme"),
        ({"train/x.json": labelme_content([], "x.png")}, "labelme"),
        ({"annotations/instances.json": {"images": [], "annotations": []}}, None),
        ({"conf.yaml": "model: {names: [a]}", "notes/x.txt": "0 0.5 0.5 0.1 0.1", "pom.xml": "<project>"}, None),
        ({}, None),
    ],
)
def test_a_format_is_known_by_its_files(tmp_path: Path, files: dict[str, object], found: str | None) -> None:
    assert recognised_format(write_files(tmp_path, files)) == found


def test_a_folder_with_very_many_images_is_left_soon(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.png").touch()
    assert recognised_format(tmp_path) is None


@pytest.mark.parametrize("name", ["annotations/instances_train2017.json", "train.json"])
def test_a_missing_annotation_file_tells_of_the_import(tmp_path: Path, name: str) -> None:
    root = write_files(tmp_path / "my set", {"annotations/x.xml": "<annotation/>"})
    with pytest.raises(FileNotFoundError) as caught:
        require_annotation_file(root / name)
    assert f"deta data import '{root}' target='{root}_coco'" in str(caught.value)
    assert "Pascal VOC" in str(caught.value)


def test_nothing_is_told_of_folders_around(tmp_path: Path) -> None:
    write_files(tmp_path, {"x.xml": "<annotation/>", "mine/annotations/train.json": {}})
    assert import_hint(tmp_path / "mine/annotations/val.json") == ""
    assert import_hint(tmp_path / "gone/set/annotations/val.json") == ""
