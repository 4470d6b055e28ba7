"""Files that results are written to."""

import csv
import json
from pathlib import Path

from PIL import Image

from deta.inference import Result, picture_of_file
from deta.inference.outputs import KINDS, DrawnPictures
from tests.inference.simple import grey, predictor


def results(folder: Path, *, min_score: float = 0.3) -> list[Result]:
    """Of a bright image with two boxes, and a dark one without."""
    pictures = [picture_of_file(grey(folder / f"{name}.png", level)) for name, level in (("bright", 204), ("dark", 5))]
    return list(predictor().stream(pictures, min_score=min_score))


def write(kind: str, folder: Path, found: list[Result]) -> str:
    """What the output says of itself."""
    output = KINDS[kind](folder)
    for number, result in enumerate(found, 1):
        output.add(result, number)
    told: str = output.close()
    return told


def test_json_holds_every_image_with_names_and_boxes_inside(tmp_path: Path) -> None:
    assert write("json", tmp_path, results(tmp_path)) == f"2 detections: {tmp_path}/boxes.json"
    bright, dark = json.loads((tmp_path / "boxes.json").read_text())
    assert [box["name"] for box in bright["boxes"]] == ["cat", "../dog"]
    assert bright["boxes"][1]["xyxy"] == [0, 0, 40, 20]
    assert dark == {"image": f"{tmp_path}/dark.png", "height": 20, "width": 40, "boxes": []}


def test_lines_of_json_can_be_read_before_the_end(tmp_path: Path) -> None:
    output = KINDS["jsonl"](tmp_path)
    output.add(results(tmp_path)[0], 1)
    assert len(json.loads((tmp_path / "boxes.jsonl").read_text())["boxes"]) == 2
    output.close()


def test_coco_results_count_the_images_from_one(tmp_path: Path) -> None:
    write("coco", tmp_path, results(tmp_path, min_score=0))
    records = json.loads((tmp_path / "predictions.json").read_text())
    assert [(record["image_id"], record["category_id"]) for record in records] == [(1, 3), (1, 7), (2, 3), (2, 7)]
    assert records[2]["file_name"] == f"{tmp_path}/dark.png"


def test_a_table_has_a_row_for_each_detection(tmp_path: Path) -> None:
    write("csv", tmp_path, results(tmp_path))
    with (tmp_path / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], float(row["x1"])) for row in rows] == [("cat", 20), ("../dog", 40)]


def test_labels_of_yolo_are_relative_and_an_image_without_a_box_has_an_empty_file(tmp_path: Path) -> None:
    assert write("yolo", tmp_path, results(tmp_path)) == f"2 files of labels: {tmp_path}/labels"
    lines = (tmp_path / "labels" / "bright.txt").read_text().splitlines()
    assert lines == ["0 0.250000 0.500000 0.500000 1.000000 0.800000", "1 0.500000 0.500000 1.000000 1.000000 0.400000"]
    assert (tmp_path / "labels" / "dark.txt").read_text() == ""
    assert (tmp_path / "classes.txt").read_text().splitlines()[:2] == ["cat", "../dog"]


def test_crops_stay_in_their_folder_whatever_a_class_is_called(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert write("crops", tmp_path / "out", results(tmp_path)) == f"2 crops: {tmp_path}/out/crops"
    files = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.jpg")}
    assert files == {"crops/0_cat/bright_1.jpg", "crops/1_dog/bright_2.jpg"}
    with Image.open(tmp_path / "out" / "crops" / "0_cat" / "bright_1.jpg") as crop:
        assert crop.size == (20, 20)


def test_an_image_without_a_detection_is_not_copied_but_counted(tmp_path: Path) -> None:
    output = DrawnPictures(tmp_path)
    for number, result in enumerate(results(tmp_path), 1):
        output.add(result, number)
    told = output.close()
    assert told == f"1 annotated picture: {tmp_path}/pictures; none of 1 image without a detection"
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["bright.jpg"]


def test_a_file_is_whole_once_it_has_its_name(tmp_path: Path) -> None:
    output = KINDS["json"](tmp_path)
    output.add(results(tmp_path)[0], 1)
    assert not (tmp_path / "boxes.json").exists()
    output.close()
    assert len(json.loads((tmp_path / "boxes.json").read_text())) == 1


def test_no_image_at_all_is_an_empty_list(tmp_path: Path) -> None:
    write("json", tmp_path, [])
    assert json.loads((tmp_path / "boxes.json").read_text()) == []
