import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from deta.data import Categories, CocoAnnotations, read_coco
from tests.data.folders import annotation, document, image, write_json


def read(tmp_path: Path, content: object) -> CocoAnnotations:
    return read_coco(write_json(tmp_path / "instances.json", content))


def test_category_ids_become_class_indexes_in_ascending_order(tmp_path: Path) -> None:
    rows = [annotation(1, category_id=7), annotation(2, category_id=3)]
    annotations = read(tmp_path, document(annotations=rows))
    assert annotations.categories == Categories(ids=(3, 7), names=("ant", "cat"))
    assert annotations.labels.tolist() == [1, 0]


def test_annotations_are_found_at_their_image_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [
        annotation(1, image_id=9, bbox=[0, 0, 1, 1]),
        annotation(2, image_id=4, bbox=[1, 1, 2, 2]),
        annotation(3, image_id=9, bbox=[2, 2, 3, 3]),
    ]
    annotations = read(tmp_path, document([image(9), image(6), image(4)], rows))
    assert annotations.image_ids.tolist() == [4, 6, 9]
    assert [annotations.file_name(index) for index in range(3)] == ["4.png", "6.png", "9.png"]
    assert [annotations.annotation_ids[annotations.rows(i)].tolist() for i in range(3)] == [[2], [], [1, 3]]
    assert annotations.boxes[annotations.rows(2)].tolist() == [[0, 0, 1, 1], [2, 2, 5, 5]]


def test_box_reaching_outside_is_clipped_and_counted(tmp_path: Path) -> None:
    annotations = read(tmp_path, document(annotations=[annotation(bbox=[-3, 25, 10, 9])]))
    assert annotations.boxes.tolist() == [[0, 25, 7, 30]]
    assert annotations.report.num_clipped == 1


def test_rounding_of_coco_is_no_clipped_box(tmp_path: Path) -> None:
    annotations = read(tmp_path, document(annotations=[annotation(bbox=[30, 0, 10.01, 30])]))
    assert annotations.boxes.tolist() == [[30, 0, 40, 30]]
    assert annotations.report.num_clipped == 0


@pytest.mark.parametrize("box", [[5, 6, 0, 8], [5, 6, 10, 0], [5, 6, -3, 8], [30, 6, 1e-9, 8]])
def test_box_without_area_is_left_out_and_counted(tmp_path: Path, box: list[float]) -> None:
    annotations = read(tmp_path, document(annotations=[annotation(8, bbox=box), annotation(9)]))
    assert annotations.annotation_ids.tolist() == [9]
    assert annotations.report.num_dropped_empty == 1
    assert annotations.report.dropped_ids == (8,)


@pytest.mark.parametrize("box", [[40, 6, 5, 8], [-9, 6, 5, 8], [5, 30, 3, 3], [5, -9, 3, 9]])
def test_box_outside_its_image_is_left_out_and_counted(tmp_path: Path, box: list[float]) -> None:
    annotations = read(tmp_path, document(annotations=[annotation(8, bbox=box)]))
    assert len(annotations.boxes) == 0
    assert annotations.report.num_dropped_outside == 1
    assert annotations.report.num_images_without_objects == 1


def test_missing_area_and_iscrowd_get_defaults_and_are_counted(tmp_path: Path) -> None:
    bare = annotation(1)
    del bare["area"], bare["iscrowd"]
    annotations = read(tmp_path, document(annotations=[bare, annotation(2, area=33)]))
    assert annotations.areas.tolist() == [80, 33]
    assert annotations.is_crowd.tolist() == [False, False]
    assert (annotations.report.num_missing_area, annotations.report.num_missing_iscrowd) == (1, 1)


def test_every_repair_is_in_the_summary(tmp_path: Path) -> None:
    rows = [annotation(1, bbox=[5, 6, 0, 8]), annotation(2, bbox=[50, 6, 3, 8]), annotation(3, iscrowd=1)]
    summary = read(tmp_path, document(annotations=rows)).report.summary()
    assert summary == (
        "1 image (1 without objects), 3 annotations (1 crowd), 1 box without area left out, "
        "1 box outside of the image left out (annotations 1, 2)"
    )


def test_crowds_are_no_objects(tmp_path: Path) -> None:
    rows = [annotation(1, iscrowd=1), annotation(2, image_id=2), annotation(3, image_id=2, iscrowd=1)]
    annotations = read(tmp_path, document([image(1), image(2), image(3)], rows))
    assert annotations.num_objects().tolist() == [0, 1, 0]
    assert annotations.report.num_crowds == 2
    assert annotations.report.num_images_without_objects == 2


def test_selection_keeps_everything_about_its_images(tmp_path: Path) -> None:
    rows = [annotation(n, image_id=n, bbox=[n, 0, 1, 1]) for n in (1, 2, 3)]
    images = [image(1), image(2, file_name="sub/zwölf.png", width=50), image(3)]
    annotations = read(tmp_path, document(images, rows)).select([2, 1])
    assert annotations.image_ids.tolist() == [3, 2]
    assert annotations.file_name(1) == "sub/zwölf.png"
    assert annotations.size(1) == (30, 50)
    assert annotations.boxes[annotations.rows(0)].tolist() == [[3, 0, 4, 1]]
    assert annotations.boxes[annotations.rows(1)].tolist() == [[2, 0, 3, 1]]


def test_empty_selection_is_a_data_set_without_images(tmp_path: Path) -> None:
    assert len(read(tmp_path, document()).select([])) == 0


def test_packed_annotations_survive_pickling_and_stay_small(shared: Path) -> None:
    annotations = read_coco(shared / "data/coco_sample/annotations/instances_train2017.json")
    stored = pickle.dumps(annotations)
    # 37 bytes an annotation, about 60 an image, and what pickle and the category names add.
    assert len(stored) < 470 * 37 + 50 * 60 + 5000
    np.testing.assert_array_equal(pickle.loads(stored).boxes, annotations.boxes)


@pytest.mark.parametrize("name", ["coco_sample/annotations/instances_val2017", "bccd/annotations/instances_train"])
def test_real_files_read_as_pycocotools_reads_them(shared: Path, name: str) -> None:
    path = shared / "data" / f"{name}.json"
    annotations, reference = read_coco(path), COCO(str(path))
    assert annotations.image_ids.tolist() == sorted(reference.getImgIds())
    for index, image_id in enumerate(annotations.image_ids.tolist()):
        rows = annotations.rows(index)
        expected = reference.loadAnns(reference.getAnnIds(imgIds=[image_id]))
        assert annotations.annotation_ids[rows].tolist() == [row["id"] for row in expected]
        assert annotations.is_crowd[rows].tolist() == [bool(row["iscrowd"]) for row in expected]
        ids = [annotations.categories.ids[label] for label in annotations.labels[rows]]
        assert ids == [row["category_id"] for row in expected]
        np.testing.assert_allclose(annotations.areas[rows], [row["area"] for row in expected], rtol=1e-6)
        for box, row in zip(annotations.boxes[rows], expected, strict=True):
            x, y, width, height = row["bbox"]
            # Half a float32 step at 640, and COCO's own rounding to 0.01 at the image border.
            np.testing.assert_allclose(box, [x, y, x + width, y + height], atol=0.011)


def test_counts_of_the_real_sample_are_those_of_its_description(shared: Path) -> None:
    report = read_coco(shared / "data/coco_sample/annotations/instances_val2017.json").report
    counts = (report.num_images, report.num_annotations, report.num_crowds, report.num_images_without_objects)
    assert counts == (41, 328, 5, 2)
