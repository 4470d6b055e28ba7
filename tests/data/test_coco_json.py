"""Every fault of an annotation file that must stop the reader, with what its message must name."""

import json
from pathlib import Path
from typing import Any

import pytest

from deta.data import Categories, read_coco
from tests.data.folders import CATEGORIES, annotation, document, image, write_json

NAN, INFINITY = float("nan"), float("inf")
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "NaN in a box": (document(annotations=[annotation(5, bbox=[1, NAN, 2, 3])]), "not finite: annotation 5"),
    "infinity in a box": (
        document(annotations=[annotation(5, bbox=[1, 2, INFINITY, 3])]),
        "not finite: annotation 5",
    ),
    "NaN as area": (document(annotations=[annotation(5, area=NAN)]), "area is not a finite number.*annotation 5"),
    "text as area": (document(annotations=[annotation(5, area="9")]), "area is not a finite number.*annotation 5"),
    "unknown category": (
        document(annotations=[annotation(5, category_id=4), annotation(6, category_id=4)]),
        "2 x annotation whose category_id is not among the categories: annotation 5: 4, annotation 6: 4",
    ),
    "unknown image": (document(annotations=[annotation(5, image_id=8)]), "image_id is not among.*annotation 5: 8"),
    "text as image id": (document(annotations=[annotation(5, image_id="1")]), "image_id is not an integer.*'1'"),
    "text as id of an image": (document([image(1), {**image(2), "id": "2"}]), "image whose id.*position 1: '2'"),
    "duplicate annotation id": (document(annotations=[annotation(5), annotation(5)]), "annotation id.*once: 5"),
    "duplicate image id": (document([image(1), image(1)]), "image id listed more than once: 1"),
    "duplicate category id": (document(categories=[*CATEGORIES, CATEGORIES[0]]), "category id.*once: 7"),
    "text as category id": (document(categories=[{"id": "3", "name": "ant"}]), "category whose id.*'3'"),
    "category without name": (document(categories=[{"id": 3}]), "name is not a string: category 3: None"),
    "box of three numbers": (
        document(annotations=[annotation(5, bbox=[1, 2, 3])]),
        r"four numbers.*5: \[1, 2, 3\]",
    ),
    "box of texts": (
        document(annotations=[annotation(5, bbox=["1", "2", "3", "4"])]),
        "four numbers.*annotation 5",
    ),
    "no box": (
        document(annotations=[{"id": 5, "image_id": 1, "category_id": 3}]),
        "four numbers.*annotation 5: None",
    ),
    "iscrowd of 2": (document(annotations=[annotation(5, iscrowd=2)]), "iscrowd is not 0 or 1: annotation 5: 2"),
    "annotation without id": (document(annotations=[{"image_id": 1}]), "annotation whose id.*position 0: None"),
    "annotation that is a number": (document(annotations=[4]), "annotation whose id.*position 0"),
    "annotations that are no list": (
        {**document(), "annotations": {}},
        "'annotations'.*not a list",
    ),
    "no file name": (document([{"id": 1, "width": 4, "height": 3}]), "without file_name: image 1"),
    "no size": (document([{"id": 1, "file_name": "1.png"}]), "height and width.*image 1"),
    "size of zero": (document([image(height=0)]), "height and width are not positive.*image 1"),
    "no annotations": ({"images": [image()], "categories": CATEGORIES}, "has no 'annotations'"),
    "no categories": ({"images": [image()], "annotations": []}, "non-empty list 'categories'"),
    "empty categories": (document(categories=[]), "non-empty list 'categories'"),
    "no images": ({"annotations": [], "categories": CATEGORIES}, "non-empty list 'images'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    path = write_json(tmp_path / "instances.json", content)
    with pytest.raises(ValueError, match=message) as error:
        read_coco(path)
    assert "instances.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON: .* at line 1, column 1"),
        ('{"images": [\n  {"id": 1,,}', "at line 2, column 12"),
        ("<!DOCTYPE html>", "at line 1, column 1"),
        ("[]", "must hold a JSON object .*, not a list"),
        ("null", "not a null"),
        ("\x00\udcff\x00", "not valid JSON"),
    ],
)
def test_broken_file_is_refused_with_the_position(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as error:
        read_coco(path)
    assert "instances.json" in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist"):
        read_coco(tmp_path / "nowhere.json")


def test_all_kinds_of_faults_are_listed_together(tmp_path: Path) -> None:
    rows = [annotation(n, image_id=99) for n in range(1, 9)] + [annotation(20, bbox=[1])]
    path = write_json(tmp_path / "instances.json", document(annotations=rows))
    with pytest.raises(ValueError, match="cannot be used") as error:
        read_coco(path)
    assert "8 x annotation whose image_id is not among the images" in str(error.value)
    assert "annotation 5: 99 and 3 more" in str(error.value)
    assert "1 x annotation whose bbox is not four numbers" in str(error.value)


def test_lvis_layout_is_pointed_to_its_own_loader(shared: Path) -> None:
    with pytest.raises(ValueError, match=r"layout of LVIS .* use data=lvis"):
        read_coco(shared / "data/lvis_sample/annotations/lvis_v1_val.json")


def test_unlabelled_images_need_an_explicit_flag(tmp_path: Path) -> None:
    path = write_json(tmp_path / "test.json", {"images": [image()], "categories": CATEGORIES})
    annotations = read_coco(path, allow_unlabelled=True)
    assert len(annotations) == 1
    assert annotations.boxes.shape == (0, 4)


def test_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert len(read_coco(path)) == 1


def test_annotation_id_zero_is_kept(tmp_path: Path) -> None:
    path = write_json(tmp_path / "instances.json", document(annotations=[annotation(0)]))
    assert read_coco(path).annotation_ids.tolist() == [0]


def test_other_categories_than_asked_for_are_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "val.json", document())
    wanted = Categories(ids=(3, 8), names=("bee", "dog"))
    message = r"val\.json has other categories .*missing 8 'dog'; unknown 7 'cat'; renamed 3 'ant' for 'bee'"
    with pytest.raises(ValueError, match=message):
        read_coco(path, categories=wanted)
