"""A data set of COCO written in another format and imported again is the same one."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deta.data.coco import read_coco
from deta.data.formats.labelme import read_labelme
from deta.data.formats.layout import annotation_file, coco_splits, image_folder, write_layout
from deta.data.formats.records import ImportOptions, outline_area, outline_box
from deta.data.formats.source import SourceFolder
from deta.data.formats.voc import read_voc
from deta.data.formats.yolo import read_yolo
from tests.data.formats.sources import Reader
from tests.data.formats.writers import Document, write_labelme, write_voc, write_yolo

Writer = Callable[[Path, str, Document], None]
FORMATS: Mapping[str, tuple[Writer, Reader, str]] = {
    "yolo": (write_yolo, read_yolo, "images/{split}"),
    "voc": (write_voc, read_voc, "JPEGImages"),
    "labelme": (write_labelme, read_labelme, "{split}"),
}
NAMES = ("cat", "Ämeise", "a <b> & 'c'", "yes", "07")


@st.composite
def documents(draw: st.DrawFn, *, whole_pixels: bool, outlines: int) -> dict[str, Any]:
    """Images of one split with boxes inside them, and with polygons of up to so many parts."""
    images: list[Any] = []
    annotations: list[Any] = []
    for k in range(draw(st.integers(1, 3))):
        width, height = draw(st.integers(8, 40)), draw(st.integers(8, 40))
        images.append({"id": k + 1, "file_name": f"é {k}.png", "width": width, "height": height})
        for _ in range(draw(st.integers(0, 3))):
            across = draw(st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True))
            down = draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True))
            (left, right), (top, bottom) = sorted(across), sorted(down)
            shift = 0 if whole_pixels else draw(st.floats(0, 0.9)) * (left < right - 1)
            box = [left + shift, top, right - left - shift, bottom - top]
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": k + 1,
                "category_id": draw(st.integers(0, len(NAMES) - 1)) + 3,
            }
            entry |= {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "segmentation": []}
            num = draw(st.integers(0, outlines))
            if num:
                x, y, w, h = box
                polygon = [x, y, x + w, y, x + w, y + h]
                entry["segmentation"] = [polygon] * num
                entry |= {"bbox": list(outline_box([polygon])), "area": outline_area([polygon] * num)}
            annotations.append(entry)
    if not annotations:
        first: dict[str, Any] = {
            "id": 1,
            "image_id": 1,
            "category_id": 3,
            "bbox": [1, 1, 4, 4],
            "area": 16,
            "iscrowd": 0,
        }
        annotations.append({**first, "segmentation": []})
    categories = [{"id": k + 3, "name": name} for k, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def objects(document: Document) -> list[Any]:
    """Name of the image and of the class, and numbers, of every annotation; in an order of its own."""
    files = {each["id"]: each["file_name"] for each in document["images"]}
    names = {each["id"]: each["name"] for each in document["categories"]}
    rows = [
        (files[each["image_id"]], names[each["category_id"]], each["bbox"], each["area"], each["segmentation"])
        for each in document["annotations"]
    ]
    return sorted(rows, key=repr)


def imported(root: Path, kind: str, document: Document) -> Any:  # noqa: ANN401 - JSON
    """The document after it was written, and read again, in a folder of its own."""
    write, read, place = FORMATS[kind]
    write(root / "source", "train", document)
    folder = root / "source" / place.format(split="train")
    folder.mkdir(parents=True, exist_ok=True)
    for image in document["images"]:
        Image.new("1", (image["width"], image["height"])).save(folder / image["file_name"])

    source = SourceFolder(root / "source")
    dataset = read(source, ImportOptions())
    source.problems.raise_if_any()
    write_layout(root / "target", coco_splits(dataset, source, kind), transfer="hardlink")
    file = annotation_file(root / "target", "train")
    report = read_coco(file).report
    assert report.num_dropped == report.num_clipped == 0
    assert sorted(path.name for path in image_folder(root / "target", "train").iterdir()) == sorted(
        image["file_name"] for image in document["images"]
    )
    return json.loads(file.read_text(encoding="utf-8"))


def assert_same(kind: str, document: Document) -> None:
    with tempfile.TemporaryDirectory() as folder:
        after = imported(Path(folder), kind, document)
    expected, found = objects(document), objects(after)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (_, _, box, area, outline), (_, _, other_box, other_area, other_outline) in zip(expected, found, strict=True):
        assert other_box == pytest.approx(box, abs=1e-9)  # YOLO's shares are multiplied again
        assert other_area == pytest.approx(area, rel=1e-9)
        assert [pytest.approx(polygon, abs=1e-9) for polygon in outline] == other_outline
    assert {(image["file_name"], image["height"], image["width"]) for image in document["images"]} == {
        (image["file_name"], image["height"], image["width"]) for image in after["images"]
    }


@settings(max_examples=8, deadline=None)
@given(documents(whole_pixels=False, outlines=1))
def test_yolo_gives_back_boxes_and_polygons(document: dict[str, Any]) -> None:
    assert_same("yolo", document)


@settings(max_examples=8, deadline=None)
@given(documents(whole_pixels=True, outlines=0))
def test_voc_gives_back_boxes_of_whole_pixels(document: dict[str, Any]) -> None:
    assert_same("voc", document)


@settings(max_examples=8, deadline=None)
@given(documents(whole_pixels=False, outlines=2))
def test_labelme_gives_back_boxes_and_polygons_of_several_parts(document: dict[str, Any]) -> None:
    assert_same("labelme", document)


def real_sample(shared: Path) -> dict[str, Any]:
    """Six real photographs with their annotations."""
    document = json.loads((shared / "data/bccd/annotations/instances_val.json").read_text())
    document["images"] = document["images"][:6]
    known = {image["id"] for image in document["images"]}
    document["annotations"] = [each for each in document["annotations"] if each["image_id"] in known]
    return dict(document)


@pytest.mark.parametrize("kind", FORMATS)
def test_real_annotations_come_back_from_every_format(shared: Path, kind: str) -> None:
    document = real_sample(shared)
    assert len(document["annotations"]) > 60
    assert_same(kind, document)


def test_the_same_annotations_give_the_same_bytes(tmp_path: Path, shared: Path) -> None:
    document = real_sample(shared)
    first, second = (imported(tmp_path / name, "voc", document) for name in "ab")
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
