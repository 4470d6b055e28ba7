"""What the metric accepts as an annotation file."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deta.evaluation import read_ground_truth


def content() -> dict[str, Any]:
    """Two images, two categories, two objects with every key, ids from 0."""
    return {
        "images": [{"id": image, "width": 64, "height": 48, "file_name": "x"} for image in (5, 2)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 5, "category_id": 9, "bbox": [1, 2, 3, 4], "area": 7.5, "iscrowd": 0},
            {"id": 1, "image_id": 2, "category_id": 4, "bbox": [0, 0, 5, 0], "area": 1, "iscrowd": 1},
        ],
    }


def save(folder: Path, data: object) -> Path:
    """As JSON, NaN included."""
    path = folder / "split.json"
    path.write_text(json.dumps(data))
    return path


def test_ids_are_sorted_and_degenerate_boxes_kept(tmp_path: Path) -> None:
    truth = read_ground_truth(save(tmp_path, content()))
    assert truth.image_ids.tolist() == [2, 5]
    assert list(zip(truth.category_ids, truth.category_names, strict=True)) == [(4, "cat"), (9, "dog")]
    assert truth.boxes_xywh.tolist() == [[1, 2, 3, 4], [0, 0, 5, 0]]
    assert (truth.areas.tolist(), truth.is_crowd.tolist()) == ([7.5, 1], [False, True])
    assert (truth.num_objects(9), truth.num_objects(4)) == (1, 0)


def test_no_annotation_gets_the_id_that_means_no_match(tmp_path: Path) -> None:
    truth = read_ground_truth(save(tmp_path, content()))
    assert [entry["id"] for entry in truth.to_coco()["annotations"]] == [1, 2]


def test_restriction_keeps_categories_and_drops_other_images(tmp_path: Path) -> None:
    truth = read_ground_truth(save(tmp_path, content()))
    part = truth.restricted_to(truth.image_ids[:1])
    assert (part.image_ids.tolist(), part.category_ids) == ([2], (4, 9))
    assert part.object_category_ids.tolist() == [4]


def test_defaults_are_used_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = content()
    del data["annotations"][0]["area"], data["annotations"][1]["iscrowd"]
    with caplog.at_level(logging.INFO):
        truth = read_ground_truth(save(tmp_path, data))
    assert (truth.areas[0], truth.is_crowd[1]) == (12, False)
    assert "1 annotation has no area, width times height is taken" in caplog.text
    assert "1 annotation has no iscrowd, 0 is taken" in caplog.text


def test_a_split_without_objects_is_valid(tmp_path: Path) -> None:
    truth = read_ground_truth(save(tmp_path, {**content(), "annotations": []}))
    assert truth.boxes_xywh.shape == (0, 4)


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no annotations": (lambda data: data.pop("annotations"), "must have a list 'annotations'"),
    "no categories": (lambda data: data.pop("categories"), "non-empty list 'categories'"),
    "text id": (lambda data: data["images"][0].update(id="5"), 'id is not an integer: position 0: "5"'),
    "image twice": (lambda data: data["images"][0].update(id=2), "image id listed more than once: 2"),
    "annotation twice": (lambda data: data["annotations"][0].update(id=1), "annotation id listed more .*: 1"),
    "unknown image": (lambda data: data["annotations"][0].update(image_id=6), "image_id .*: annotation 0: 6"),
    "unknown category": (lambda data: data["annotations"][0].update(category_id=1), "category_id .*: 1"),
    "NaN box": (
        lambda data: data["annotations"][1].update(bbox=[0, 0, float("nan"), 1]),
        "NaN is no number of JSON",
    ),
    "three numbers": (lambda data: data["annotations"][1].update(bbox=[0, 0, 1]), "annotation 1: .0, 0, 1"),
    "NaN area": (lambda data: data["annotations"][1].update(area=float("nan")), "NaN is no number of JSON"),
    "crowd 2": (lambda data: data["annotations"][1].update(iscrowd=2), "iscrowd .*annotation 1: 2"),
    "LVIS": (lambda data: data["images"][0].update(neg_category_ids=[4]), "LVIS"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    data = content()
    change(data)
    path = save(tmp_path, data)
    with pytest.raises(ValueError, match=f"(?s){path}.*{message}"):
        read_ground_truth(path)


def test_broken_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.json does not exist"):
        read_ground_truth(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"broken\.json is not valid JSON: .* line 1, column 13"):
        read_ground_truth(tmp_path / "broken.json")
