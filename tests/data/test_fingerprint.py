"""The fingerprint follows the data, not where they lie or how they are written."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deta.data import fingerprint as module
from deta.data.coco_json import CocoFile, read_coco_file
from deta.data.fingerprint import DataFingerprint, fingerprint, recipe_fingerprint
from deta.data.image_rows import Layout
from deta.data.shapes_recipe import ShapesRecipe
from tests.data.folders import annotation, document, image

PLAIN = document(
    [image(1), image(2)], [annotation(1), annotation(2, image_id=2, bbox=[1, 2, 3, 4]), annotation(3, image_id=2)]
)


def write(path: Path, content: object, *, indent: int | None = None) -> Path:
    """A file that was written long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=indent))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def found(tmp_path: Path, content: object) -> DataFingerprint:
    return fingerprint(write(tmp_path / "file.json", content), cache=tmp_path / "cache")


def test_moving_renaming_and_formatting_change_nothing(tmp_path: Path) -> None:
    here = found(tmp_path, PLAIN)
    turned = {key: [dict(reversed(row.items())) for row in PLAIN[key]] for key in reversed(PLAIN)}
    there = fingerprint(write(tmp_path / "else/where.json", turned, indent=3), cache=tmp_path / "cache")
    assert here == there
    assert here.differences(there) == ""
    assert there.annotations == "where.json"
    assert (here.num_images, here.num_boxes, here.num_classes) == (2, 3, 2)


@pytest.mark.parametrize(
    "other",
    [
        document([image(1), image(2)], [*PLAIN["annotations"][:2], annotation(3, image_id=1)]),
        document([image(1), image(2, file_name="b.png")], PLAIN["annotations"]),
        document([image(1), image(2, width=41)], PLAIN["annotations"]),
        document([image(1), image(3)], [annotation(1)]),
        document([image(1), image(2)], [annotation(1, area=79), *PLAIN["annotations"][1:]]),
        document([image(1), image(2)], [annotation(1, iscrowd=1), *PLAIN["annotations"][1:]]),
        document([image(1), image(2)], [annotation(1, category_id=7), *PLAIN["annotations"][1:]]),
        document(
            [image(1), image(2)], PLAIN["annotations"], categories=[{"id": 7, "name": "bat"}, {"id": 3, "name": "ant"}]
        ),
    ],
)
def test_other_images_boxes_or_classes_are_other_data(tmp_path: Path, other: dict[str, Any]) -> None:
    assert found(tmp_path / "a", PLAIN) != found(tmp_path / "b", other)


def test_differences_name_the_counts_that_changed(tmp_path: Path) -> None:
    more = document([image(1), image(2), image(3)], [*PLAIN["annotations"], annotation(4, image_id=3)])
    assert found(tmp_path / "a", PLAIN).differences(found(tmp_path / "b", more)) == "images 2 -> 3, boxes 3 -> 4"
    moved = document([image(1), image(2)], [annotation(1, bbox=[5, 6, 10, 9]), *PLAIN["annotations"][1:]])
    assert "other content" in found(tmp_path / "c", PLAIN).differences(found(tmp_path / "d", moved))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    def read(path: Path, *, layout: Layout) -> CocoFile:
        reads.append(path)
        return read_coco_file(path, layout=layout)

    monkeypatch.setattr(module, "read_coco_file", read)
    first = found(tmp_path, PLAIN)
    assert fingerprint(tmp_path / "file.json", cache=tmp_path / "cache") == first
    assert len(reads) == 1
    os.utime(tmp_path / "file.json", (1_000_000_001, 1_000_000_001))
    assert fingerprint(tmp_path / "file.json", cache=tmp_path / "cache") == first
    assert len(reads) == 2


def test_a_file_that_was_just_written_is_not_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "file.json", PLAIN)
    os.utime(path, (time.time(), time.time()))
    fingerprint(path, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("garbage", [b"", b"[1]", b"{}", b'{"key": 1}', b"\xff", b"[" * 100_000])
def test_a_garbled_record_is_made_again(tmp_path: Path, garbage: bytes) -> None:
    first = found(tmp_path, PLAIN)
    (record,) = (tmp_path / "cache/fingerprints").iterdir()
    whole = record.read_bytes()
    record.write_bytes(garbage)
    assert fingerprint(tmp_path / "file.json", cache=tmp_path / "cache") == first
    assert record.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file")
    assert found(tmp_path, PLAIN).num_images == 2
    assert "is not kept" in caplog.text


def test_a_dict_gives_the_fingerprint_back(tmp_path: Path) -> None:
    here = found(tmp_path, PLAIN)
    assert DataFingerprint.from_dict(json.loads(json.dumps(here.to_dict()))) == here


@pytest.mark.parametrize("content", [None, [], {}, {"digest": "x"}, {**dict.fromkeys(["annotations", "digest"], 1)}])
def test_anything_else_than_a_fingerprint_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="fingerprint of data"):
        DataFingerprint.from_dict(content)


def test_wrong_types_in_a_fingerprint_are_refused() -> None:
    good = recipe_fingerprint(ShapesRecipe(), "train").to_dict()
    for key, value in (("digest", 1), ("num_images", "1"), ("num_boxes", 1.5), ("num_classes", True)):
        with pytest.raises(ValueError, match="fingerprint of data"):
            DataFingerprint.from_dict({**good, key: value})


def test_generated_pictures_differ_by_recipe_and_split() -> None:
    digests = {
        recipe_fingerprint(recipe, split).digest
        for recipe in (ShapesRecipe(), ShapesRecipe(seed=1), ShapesRecipe(num_train=5))
        for split in ("train", "val")
    }
    assert len(digests) == 6
    assert recipe_fingerprint(ShapesRecipe(num_val=7), "val").num_images == 7


def test_a_missing_file_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"check data\.root"):
        fingerprint(tmp_path / "none.json", cache=tmp_path)


def test_it_costs_no_import_of_pytorch() -> None:
    code = "import sys, deta.data.fingerprint; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
