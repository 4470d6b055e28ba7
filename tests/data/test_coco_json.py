"""Every fault of an annotation file that must stop the reader, with what its message must name."""

import json
from pathlib import Path
from typing import Any

import pytest

from deta.data import Categories, annotation_rows, read_coco
from tests.data.folders import CATEGORIES, annotation, document, image, write_json

NAN, INFINITY = float("nan"), float("inf")
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "NaN in a box": (
        document(annotations=[annotation(5, bbox=[1, NAN, 2, 3])]),
        r"NaN is no number of JSON.* at line 1, column \d+, after .*\"id\": 5.*bbox",
    ),
    "infinity in a box": (
        document(annotations=[annotation(5, bbox=[1, 2, INFINITY, 3])]),
        "Infinity is no number of JSON",
    ),
    "NaN as area": (document(annotations=[annotation(5, area=NAN)]), "NaN is no number of JSON"),
    "text as area": (
        document(annotations=[annotation(5, area="9")]),
        'area is not a number of at least 0 .*annotation 5: "9"',
    ),
    "unknown category": (
        document(annotations=[annotation(5, category_id=4), annotation(6, category_id=4)]),
        "2 x annotation whose category_id is not among the categories: annotation 5: 4, annotation 6: 4",
    ),
    "unknown image": (document(annotations=[annotation(5, image_id=8)]), "image_id is not among.*annotation 5: 8"),
    "text as image id": (document(annotations=[annotation(5, image_id="1")]), 'image_id is not an integer.*"1"'),
    "text as id of an image": (document([image(1), {**image(2), "id": "2"}]), 'image whose id.*position 1: "2"'),
    "duplicate annotation id": (document(annotations=[annotation(5), annotation(5)]), "annotation id.*once: 5"),
    "duplicate image id": (document([image(1), image(1)]), "image id listed more than once: 1"),
    "duplicate category id": (document(categories=[*CATEGORIES, CATEGORIES[0]]), "category id.*once: 7"),
    "text as category id": (document(categories=[{"id": "3", "name": "ant"}]), 'category whose id.*"3"'),
    "truth value as iscrowd": (document(annotations=[annotation(5, iscrowd=True)]), "0 or 1: annotation 5: true"),
    "float as iscrowd": (document(annotations=[annotation(5, iscrowd=1.0)]), "0 or 1: annotation 5: 1.0"),
    "null as iscrowd": (document(annotations=[annotation(5, iscrowd=None)]), "0 or 1: annotation 5: null"),
    "null as area": (document(annotations=[annotation(5, area=None)]), "area .*annotation 5: null"),
    "truth value in a box": (document(annotations=[annotation(5, bbox=[True, 1, 2, 3])]), "four numbers.*5: .true"),
    "coordinate beyond belief": (document(annotations=[annotation(5, bbox=[1e9, 1, 2, 3])]), "four numbers.*5: .1000"),
    "number of 401 digits": (document(annotations=[annotation(5, bbox=[10**400, 1, 2, 3])]), r"5: \[1000.* bytes\)"),
    "float as id": (document(annotations=[annotation(5, image_id=1.0)]), "image_id is not an integer: .*5: 1.0"),
    "id of 65 bits": (document(annotations=[annotation(5, image_id=2**63)]), "image_id is not an integer"),
    "side beyond belief": (
        document([image(height=2**31)]),
        "height is not an integer from 1 to 1,000,000: image 1: 214",
    ),
    "float as side": (document([{**image(), "height": 30.0}]), "height is not an integer .*: image 1: 30.0"),
    "empty file name": (document([image(file_name="")]), 'file_name is not a text with .*image 1: ""'),
    "file name that goes up": (
        document([image(file_name="a/../../b.png")]),
        "leaves the image folder.*image 1: 'a/../",
    ),
    "absolute file name": (document([image(file_name="/etc/passwd")]), "leaves the image folder.*'/etc/passwd'"),
    "zero character in a file name": (document([image(file_name="a\0.png")]), "holds the character 0"),
    "half a character in a file name": (
        document([image(file_name="\ud800.png")]),
        "half of a surrogate pair.* line 1, column",
    ),
    "endless category name": (
        document(categories=[{"id": 3, "name": "x" * 1001}]),
        "category whose name has more than 1,000 letters: category 3: 1,001",
    ),
    "blank category name": (document(categories=[{"id": 3, "name": " \n\u200b"}]), "name is blank: category 3"),
    "half a character in a category": (
        document(categories=[{"id": 3, "name": "a\ud800"}]),
        "half of a surrogate pair.* line 1, column",
    ),
    "list that is an object": ({**document(), "images": {"a": 1}}, "non-empty list 'images'"),
    "category without name": (document(categories=[{"id": 3}]), "name is not a text: category 3: missing"),
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
        "four numbers.*annotation 5: missing",
    ),
    "iscrowd of 2": (
        document(annotations=[annotation(5, iscrowd=2)]),
        "iscrowd is not the integer 0 or 1: annotation 5: 2",
    ),
    "annotation without id": (document(annotations=[{"image_id": 1}]), "annotation whose id.*position 0: missing"),
    "annotation that is a number": (document(annotations=[4]), "annotation that is not an object: position 0: 4"),
    "annotations that are no list": (
        {**document(), "annotations": {}},
        "'annotations'.*not a list",
    ),
    "no file name": (document([{"id": 1, "width": 4, "height": 3}]), "file_name is not a text.*image 1: missing"),
    "no size": (
        document([{"id": 1, "file_name": "1.png"}]),
        "height is not .*image 1: missing.*\n.*width is not .*image 1: missing",
    ),
    "size of zero": (document([image(height=0)]), "height is not an integer from 1.*image 1: 0"),
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
        ("", "is empty"),
        ('{"images": [\n  {"id": 1,,}', "at line 2, column 12"),
        ("<!DOCTYPE html>", "at line 1, column 1"),
        ("[]", "must hold a JSON object, not a list"),
        ("null", "must hold a JSON object, not null"),
        ("\x00\udcff\x00", "not valid JSON"),
    ],
)
def test_broken_file_is_refused_with_the_position(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as error:
        read_coco(path)
    assert "instances.json" in str(error.value)


def test_a_doubled_key_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document())[:-1] + ', "annotations": []}')
    with pytest.raises(ValueError, match=r"instances\.json has the key 'annotations' more than once"):
        read_coco(path)


@pytest.mark.parametrize("key", ["images", "annotations", "categories", "info"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_file_nested_without_end_is_one_message(tmp_path: Path, key: str, opening: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document())[:-1].replace(f'"{key}"', '"other"') + f', "{key}": ' + opening * 100_000)
    with pytest.raises(ValueError, match=r"instances\.json cannot be used: it is nested"):
        read_coco(path)


def test_all_faults_of_a_row_are_listed(tmp_path: Path) -> None:
    row = annotation(5, image_id=9, category_id="3", bbox=[1], area=-1, iscrowd=2)
    bad_image = {**image(2), "height": 0, "width": "4", "file_name": "../2.png"}
    with pytest.raises(ValueError, match="cannot be used") as error:
        read_coco(write_json(tmp_path / "instances.json", document([image(), bad_image], [row])))
    for text in ("height", "width", "file_name", "image_id is not among", "category_id", "bbox", "area", "iscrowd"):
        assert f"whose {text}" in str(error.value)


def test_what_a_message_shows_of_a_value_is_short_and_printable(tmp_path: Path) -> None:
    path = write_json(tmp_path / "instances.json", document([image(file_name="/\x1b[31m" + "x" * 100_000)]))
    with pytest.raises(ValueError, match="characters") as error:
        read_coco(path)
    assert len(str(error.value)) < 1000
    assert "\x1b" not in str(error.value)


def test_keys_that_are_not_needed_may_hold_anything(tmp_path: Path) -> None:
    row = annotation(segmentation=[["x", None, {"a": [1e300]}]], caption="\n")
    assert len(read_coco(write_json(tmp_path / "instances.json", document(annotations=[row], info="\n"))).boxes) == 1


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


def test_too_many_annotations_of_an_image_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotation_rows, "MAX_PER_IMAGE", 3)
    rows = [annotation(k, image_id=1 + k // 4) for k in range(7)]
    with pytest.raises(ValueError, match="1 x image with more than 3 annotations, cut it into tiles: image 1: 4"):
        read_coco(write_json(tmp_path / "instances.json", document([image(1), image(2)], rows)))
