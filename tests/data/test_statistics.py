"""Counts of a hand-made annotation file."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from deta.data import read_coco
from deta.data import statistics as module
from deta.data.statistics import DatasetStatistics, dataset_statistics
from tests.data.folders import annotation, document, image, write_json


def statistics(folder: Path) -> DatasetStatistics:
    """Three images: two cats that overlap and an ant, a crowd alone, nothing."""
    entries = [
        annotation(1, category_id=7, bbox=[0, 0, 100, 50], area=1000),
        annotation(2, category_id=7, bbox=[0, 0, 50, 50], area=2000),
        annotation(3, category_id=3, bbox=[0, 0, 100, 40], area=9216),
        annotation(4, image_id=2, category_id=3, bbox=[0, 0, 10, 10], iscrowd=1),
    ]
    images = [image(k, height=200, width=100 * k) for k in (1, 2, 3)]
    return dataset_statistics(read_coco(write_json(folder / "a.json", document(images, entries))))


def test_sizes_follow_the_annotated_area_with_limits_of_coco(tmp_path: Path) -> None:
    assert statistics(tmp_path).size_counts() == {"small": 1, "medium": 1, "large": 1}  # 96 * 96 is large


def test_the_summary_counts_objects_without_crowds(tmp_path: Path) -> None:
    summary = statistics(tmp_path).summary()
    assert (summary["images"], summary["images_without_objects"]) == (3, 2)
    assert (summary["objects"], summary["crowds"], summary["objects_per_image_max"]) == (3, 1, 3)
    assert summary["objects_per_image_mean"] == 1
    assert summary["aspect_q50"] == 2
    assert summary["image_width_px_q50"] == 200
    assert summary["side_px_q50"] == pytest.approx(math.sqrt(2000))


def test_the_overlap_is_that_with_the_closest_other_object(tmp_path: Path) -> None:
    found = statistics(tmp_path)
    assert found.overlaps.tolist() == pytest.approx([0.8, 0.5, 0.8])  # the ant covers 4/5 of the first cat
    assert found.same_overlaps.tolist() == pytest.approx([0.5, 0.5, 0])
    summary = found.summary()
    assert summary["share_overlapping_0.7"] == pytest.approx(2 / 3)
    assert summary["share_overlapping_same_class_0.5"] == pytest.approx(2 / 3)


def test_rows_of_categories_add_up(tmp_path: Path) -> None:
    ant, cat = statistics(tmp_path).category_rows()
    assert (ant["name"], ant["objects"], ant["images"], ant["large"]) == ("ant", 1, 1, 1)
    assert (cat["id"], cat["objects"], cat["small"], cat["medium"], cat["large"]) == (7, 2, 1, 1, 0)
    assert cat["mean_overlap"] == pytest.approx(0.65)


def test_a_file_without_objects_has_no_shares(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", document([image(1)], []))
    found = dataset_statistics(read_coco(path))
    assert math.isnan(found.summary()["share_small"])
    assert found.category_rows()[0]["mean_overlap"] is None


def test_the_real_sample_holds_what_its_description_says(shared: Path) -> None:
    found = dataset_statistics(read_coco(shared / "data/coco_sample/annotations/instances_train2017.json"))
    assert found.size_counts() == {"small": 238, "medium": 147, "large": 80}
    assert (found.num_crowds, int((found.images_per_class > 0).sum())) == (5, 49)


def test_a_crowded_image_is_measured_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    entries = [
        annotation(k, bbox=[*generator.uniform(0, 20, 2), *generator.uniform(1, 9, 2)], category_id=(3, 7)[k % 2])
        for k in range(50)
    ]
    annotations = read_coco(write_json(tmp_path / "a.json", document([image()], entries)))
    whole = dataset_statistics(annotations)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 120)  # two rows at once
    in_blocks = dataset_statistics(annotations)
    assert in_blocks.overlaps.tolist() == whole.overlaps.tolist()
    assert in_blocks.same_overlaps.tolist() == whole.same_overlaps.tolist()
    assert whole.overlaps.max() < 1  # none overlaps with itself


def test_an_image_of_thousands_of_boxes_takes_bounded_memory(tmp_path: Path) -> None:
    entries = [annotation(k, bbox=[k % 30, k % 20, 5, 5]) for k in range(4000)]
    annotations = read_coco(write_json(tmp_path / "a.json", document([image()], entries)))
    tracemalloc.start()
    dataset_statistics(annotations)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * 2**20  # all pairs at once would take 1.6 GB
