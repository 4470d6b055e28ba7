"""The data set of a run on record, compared by content."""

from dataclasses import replace
from pathlib import Path

import pytest

from deta.data.fingerprint import DataFingerprint
from deta.runs.data_record import DATA, DataRecord, read_data, write_data

TRAIN = DataFingerprint(annotations="a.json", digest="ab" * 32, num_images=6, num_boxes=14, num_classes=2)
VAL = replace(TRAIN, annotations="b.json", digest="cd" * 32)
RECORD = DataRecord({"train": TRAIN, "val": VAL}, {"train": "/data/a.json"})


def test_a_record_comes_back_from_its_file(tmp_path: Path) -> None:
    write_data(tmp_path, RECORD)
    found = read_data(tmp_path)
    assert found == RECORD
    assert found is not None
    assert found.places == RECORD.places


def test_a_run_without_a_record_has_none(tmp_path: Path) -> None:
    assert read_data(tmp_path) is None


def test_another_place_is_the_same_data_and_another_content_is_not() -> None:
    assert DataRecord(RECORD.splits, {"train": "/elsewhere/a.json", "val": "/elsewhere/b.json"}) == RECORD
    assert DataRecord({"train": VAL, "val": TRAIN}, RECORD.places) != RECORD


def test_differences_name_both_data_sets_with_place_and_counts_and_only_the_split_that_differs() -> None:
    more = replace(TRAIN, digest="ef" * 32, num_images=7)
    other = DataRecord({"train": more, "val": VAL}, {"train": "/new/a.json"})
    assert RECORD.differences(other) == (
        "train /data/a.json (6 images, 14 boxes, 2 classes, digest abababab), "
        "not /new/a.json (7 images, 14 boxes, 2 classes, digest efefefef): images 6 -> 7"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"train": {}, "val": {}}', '{"train": 1, "val": 2}'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / DATA).write_text(content)
    with pytest.raises(ValueError, match=rf"{DATA} is damaged .*: remove it"):
        read_data(tmp_path)
