"""AP of images drawn again, against COCO's program on the images written out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deta.evaluation import ImageMatches, average_precision, read_evaluation, write_evaluation
from tests.evaluation.test_evaluation import (
    Row,
    annotation,
    evaluator,
    random_scene,
    score,
    write,
)
from tests.evaluation.test_evaluation import batch as padded

BOX = (10.0, 10.0, 50.0, 50.0)


def matches_of(path: Path, detections: dict[int, list[Row]]) -> ImageMatches:
    metric = evaluator(path)
    metric.update(padded(list(detections.values())), torch.tensor(list(detections)))
    metric.compute()
    return metric.matches()


def written_out(
    folder: Path, path: Path, detections: dict[int, list[Row]], counts: list[int]
) -> tuple[Path, dict[int, list[Row]]]:
    """The scene with the images, in ascending order of id, that often: new ids, copies beside each other."""
    content = json.loads(path.read_text())
    annotations: list[dict[str, Any]] = []
    copies: dict[int, list[Row]] = {}
    for image, count in zip(sorted(detections), counts, strict=True):
        for _ in range(count):
            identity = len(copies) + 1
            copies[identity] = detections[image]
            own = [entry for entry in content["annotations"] if entry["image_id"] == image]
            annotations += [{**entry, "image_id": identity} for entry in own]
    for number, entry in enumerate(annotations):
        entry["id"] = number
    folder.mkdir()
    return write(folder, list(copies), annotations), copies


@pytest.mark.parametrize("seed", range(4))
def test_images_that_count_several_times_score_as_images_written_out(tmp_path: Path, seed: int) -> None:
    path, detections = random_scene(tmp_path, seed)
    generator = np.random.default_rng(seed)
    counts = np.stack([np.bincount(generator.integers(0, 12, 12), minlength=12) for _ in range(5)])
    found = average_precision(matches_of(path, detections), counts)
    for draw, row in enumerate(counts.tolist()):
        copied = written_out(tmp_path / str(draw), path, detections, row)
        assert found[draw] == pytest.approx(score(*copied).ap, abs=1e-12)  # sums in another order
    assert len(set(found.tolist())) == 5


def test_every_image_once_is_the_plain_average_precision(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, 7, num_images=30)
    (found,) = average_precision(matches_of(path, detections), np.ones((1, 30), np.int64))
    assert found == pytest.approx(score(path, detections).ap, abs=1e-12)
    assert 0.1 < found < 0.9


def test_an_image_drawn_alone_scores_alone(tmp_path: Path) -> None:
    """Hand-worked: image 1 is found, image 2 is missed; a false detection of image 3 scores higher than the true."""
    path = write(tmp_path, [1, 2, 3], [annotation(1, BOX), annotation(2, BOX)])
    matches = matches_of(path, {1: [(BOX, 0.5, 0)], 2: [], 3: [(BOX, 0.9, 0)]})
    counts = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 1], [2, 0, 1], [1, 1, 0], [0, 0, 2]])
    found = average_precision(matches, counts)
    assert found[:4] == pytest.approx([1.0, 0.0, 1 / 2, 2 / 3])
    assert found[4] == pytest.approx(51 / 101)  # recall 0.5 is the highest of 51 recalls that are reached
    assert np.isnan(found[5])


def test_detections_inside_a_crowd_count_neither_way(tmp_path: Path) -> None:
    path = write(tmp_path, [1], [annotation(1, BOX), annotation(1, (100, 100, 300, 300), iscrowd=1)])
    matches = matches_of(path, {1: [((150, 150, 200, 200), 0.9, 0), (BOX, 0.5, 0)]})
    assert average_precision(matches, np.array([[1], [3]])) == pytest.approx([1.0, 1.0])


def test_a_model_without_detections_scores_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, [1, 2], [annotation(1, BOX), annotation(2, BOX)])
    assert average_precision(matches_of(path, {1: [], 2: []}), np.array([[1, 1]])).tolist() == [0.0]


def test_matches_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, 1)
    matches = matches_of(path, detections)
    matches.save(tmp_path / "matches.npz")
    loaded = ImageMatches.load(tmp_path / "matches.npz")
    for name in ("image_ids", "num_objects", "images", "categories", "scores", "is_match", "is_ignored"):
        assert np.array_equal(getattr(loaded, name), getattr(matches, name)), name
        assert getattr(loaded, name).dtype == getattr(matches, name).dtype


def test_an_evaluation_that_was_cut_off_is_none(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, 2)
    metric = evaluator(path)
    metric.update(padded(list(detections.values())), torch.tensor(list(detections)))
    write_evaluation(tmp_path / "nms", metric, metric.compute())
    stored = read_evaluation(tmp_path / "nms")
    assert stored is not None
    (again,) = average_precision(stored.matches(), np.ones((1, 12), np.int64))
    assert stored.metrics["AP"] == pytest.approx(again, abs=1e-12)
    (tmp_path / "nms" / "metrics.json").unlink()
    assert read_evaluation(tmp_path / "nms") is None
