"""Result files: what is read and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from deta.evaluation.result_file import read_results
from tests.evaluation.evaluated import ground_truth

TRUTH = ground_truth([(1, 3, [0, 0, 4, 4])], images=[2])
GOOD = {"image_id": 2, "category_id": 90, "bbox": [1, 2.5, 3, 0], "score": 1, "segmentation": None}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "negative width": ({"bbox": [1, 2, -3, 4]}, r"bbox is not .* sides at least 0: position 1: \[1, 2, -3, 4\]"),
    "negative height": ({"bbox": [1, 2, 3, -4]}, "sides at least 0: position 1"),
    "number of 401 digits": ({"bbox": [10**400, 2, 3, 4]}, r"position 1: \[1000.* bytes\)"),
    "score of 401 digits": ({"score": 10**400}, "score is not a number: position 1: 1000"),
    "text as score": ({"score": "0.5"}, 'score is not a number: position 1: "0.5"'),
    "truth value as score": ({"score": True}, "score is not a number: position 1: true"),
    "float as image": ({"image_id": 2.0}, "image_id is not an integer: position 1: 2.0"),
    "image of 65 bits": ({"image_id": 2**63}, "image_id is not an integer: position 1: 9223"),
    "three numbers": ({"bbox": [1, 2, 3]}, r"position 1: \[1, 2, 3\]"),
    "other image": ({"image_id": 7}, "1 x detection in an image that .* does not list: 7"),
    "other category": ({"category_id": 4}, "1 x detection of a category that .* does not list: 4"),
    "NaN": ({"score": float("nan")}, "NaN is no number of JSON"),
}


def write(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "predictions.json"
    path.write_text(content)
    return path


def test_integers_and_floats_become_columns(tmp_path: Path) -> None:
    found = read_results(write(tmp_path, json.dumps([GOOD, {**GOOD, "image_id": 1, "score": 0.25}])), TRUTH)
    assert found.image_ids.tolist() == [2, 1]
    assert found.category_ids.tolist() == [90, 90]
    assert found.boxes_xywh.tolist() == [[1, 2.5, 3, 0]] * 2
    assert found.scores.tolist() == [1, 0.25]


def test_an_empty_list_is_valid(tmp_path: Path) -> None:
    assert len(read_results(write(tmp_path, "[]"), TRUTH)) == 0


@pytest.mark.parametrize("fault", BAD)
def test_a_fault_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    changes, message = BAD[fault]
    path = write(tmp_path, json.dumps([GOOD, {**GOOD, **changes}]))
    with pytest.raises(ValueError, match=message) as error:
        read_results(path, TRUTH)
    assert "predictions.json" in str(error.value)


def test_all_faults_of_an_entry_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([{"image_id": "1", "bbox": [1], "score": None}]))
    with pytest.raises(ValueError, match="cannot be used") as error:
        read_results(path, TRUTH)
    for text in ('image_id is not an integer: position 0: "1"', "category_id .*missing", "bbox", "score .*null"):
        error.match(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested"),
        ('[{"image_id": ' + "[" * 100_000, "nested"),
        ("{}", "must hold a JSON list, not an object"),
        ("[1, [], null]", "3 x detection that is not an object: position 0: 1"),
        ("", "is empty"),
        ("\0" * 1000, "not valid JSON"),
    ],
)
def test_what_is_no_list_of_detections_is_one_message(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_results(write(tmp_path, content), TRUTH)
    assert len(str(error.value)) < 1000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.json does not exist"):
        read_results(tmp_path / "absent.json", TRUTH)
