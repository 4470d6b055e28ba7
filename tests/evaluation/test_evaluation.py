"""The COCO metric against hand-worked cases, torchmetrics and itself in another order."""

import importlib.util
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from deta.evaluation import ENGINE_NAMES, CocoEvaluator, CocoResult, to_coco_results
from deta.structures import Detections

CATEGORIES = {3: "cat", 7: "dog", 90: "bird"}
Row = tuple[Sequence[float], float, int]
"""Box xyxy, score, class index."""
ONE = pytest.approx(1.0, abs=1e-12)
"""pycocotools adds an epsilon to a divisor, so that its precision stays 2e-16 below 1."""


@pytest.fixture(params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine whose package is installed."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def annotation(image: int, box_xyxy: Sequence[float], category: int = 3, **more: object) -> dict[str, Any]:
    """An annotation without id, area and iscrowd."""
    x0, y0, x1, y1 = box_xyxy
    return {"image_id": image, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0], **more}


def write(folder: Path, images: Sequence[int], annotations: Sequence[dict[str, Any]]) -> Path:
    """An annotation file; ids are given from 0 where missing."""
    path = folder / "instances.json"
    content = {
        "images": [{"id": image, "width": 640, "height": 480, "file_name": f"{image}.jpg"} for image in images],
        "categories": [{"id": identity, "name": name} for identity, name in CATEGORIES.items()],
        "annotations": [{"id": number, **entry} for number, entry in enumerate(annotations)],
    }
    path.write_text(json.dumps(content))
    return path


def batch(rows: Sequence[Sequence[Row]], width: int | None = None) -> Detections:
    """Detections of images, padded to the longest or to ``width``."""
    width = max(len(image) for image in rows) if width is None else width
    boxes, scores = torch.zeros(len(rows), width, 4), torch.zeros(len(rows), width)
    labels = torch.zeros(len(rows), width, dtype=torch.int64)
    is_detection = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, image in enumerate(rows):
        for slot, (box, score, label) in enumerate(image):
            boxes[index, slot] = torch.tensor(box)
            scores[index, slot], labels[index, slot], is_detection[index, slot] = score, label, True
    return Detections(boxes, scores, labels, is_detection)


def evaluator(path: Path, **options: object) -> CocoEvaluator:
    """With one model class per category."""
    arguments: dict[str, Any] = {"category_ids": list(CATEGORIES), **options}
    return CocoEvaluator(annotations=path, **arguments)


def score(path: Path, detections: Mapping[int, Sequence[Row]], *, size: int = 2, **options: object) -> CocoResult:
    """Evaluate the detections of each image in batches of ``size``, in the given order."""
    metric = evaluator(path, **options)
    images = list(detections)
    for start in range(0, len(images), size):
        part = images[start : start + size]
        metric.update(batch([detections[image] for image in part]), torch.tensor(part))
    result = metric.compute()
    assert isinstance(result, CocoResult)
    return result


def random_scene(folder: Path, seed: int, num_images: int = 12) -> tuple[Path, dict[int, list[Row]]]:
    """Objects of all sizes and some crowds, and detections: displaced, false and confused ones."""
    generator = np.random.default_rng(seed)
    images = (generator.permutation(500)[:num_images] + 1).tolist()
    annotations, detections = [], {}
    for image in images:
        rows: list[Row] = []
        for _ in range(int(generator.integers(0, 9))):
            size = np.exp(generator.uniform(np.log(8), np.log(250), size=2))
            corner = generator.uniform(0, 200, size=2)
            box = np.concatenate((corner, corner + size))
            label = int(generator.integers(0, 3))
            crowd, area = int(generator.random() < 0.1), float(size.prod() * generator.uniform(0.4, 1))
            annotations.append(annotation(image, box.tolist(), list(CATEGORIES)[label], area=area, iscrowd=crowd))
            for _ in range(int(generator.integers(0, 4))):
                moved = box + generator.normal(0, 0.08, size=4) * np.tile(size, 2)
                found = label if generator.random() < 0.8 else int(generator.integers(0, 3))
                rows.append((moved.tolist(), float(generator.random()), found))
        detections[image] = sorted(rows, key=lambda row: -row[1])
    return write(folder, images, annotations), detections


def torchmetrics_result(path: Path, detections: Mapping[int, Sequence[Row]]) -> dict[str, Any]:
    """The same numbers from torchmetrics; its own thresholds are rounded to float32, so COCO's are given."""
    metric = MeanAveragePrecision(
        class_metrics=True,
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
    )
    content = json.loads(path.read_text())
    for image, rows in detections.items():
        objects = [entry for entry in content["annotations"] if entry["image_id"] == image]
        boxes = torch.tensor([entry["bbox"] for entry in objects], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        predicted = {
            "boxes": torch.tensor([row[0] for row in rows]).reshape(-1, 4),
            "scores": torch.tensor([row[1] for row in rows]),
            "labels": torch.tensor([list(CATEGORIES)[row[2]] for row in rows], dtype=torch.int64),
        }
        annotated = {
            "boxes": boxes,
            "labels": torch.tensor([entry["category_id"] for entry in objects], dtype=torch.int64),
            "iscrowd": torch.tensor([entry["iscrowd"] for entry in objects], dtype=torch.int64),
            "area": torch.tensor([entry["area"] for entry in objects], dtype=torch.float64),
        }
        metric.update([predicted], [annotated])
    return dict(metric.compute())


def test_precision_and_recall_of_two_objects_and_one_false_detection(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 50, 50]), annotation(1, [100, 100, 300, 300])])
    rows = [([0, 0, 50, 50], 0.9, 0), ([400, 0, 450, 50], 0.8, 0), ([100, 100, 300, 300], 0.7, 0)]
    result = score(path, {1: rows}, engine=engine)
    # Precision is 1 up to recall 0.5 (51 of 101 points) and 2/3 beyond.
    assert result.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.ap == pytest.approx(result.ap50) == pytest.approx(result.ap75)
    assert (result.ar_1, result.ar_10, result.ar_100) == (0.5, 1.0, 1.0)
    assert (result.ar_medium, result.ar_large) == (1.0, 1.0)
    assert math.isnan(result.ap_small)
    assert (result.num_images, result.num_detections) == (1, 3)


def test_a_displaced_box_counts_up_to_its_overlap(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 100, 100])])
    result = score(path, {1: [([0, 0, 100, 62], 0.9, 0)]}, engine=engine)
    assert result.ap == pytest.approx(0.3)  # IoU 0.62 passes 0.50, 0.55 and 0.60
    assert [result.ap50, result.ap75] == [ONE, 0.0]


def test_detections_in_a_crowd_are_no_mistakes(tmp_path: Path, engine: str) -> None:
    crowd = annotation(1, [200, 200, 400, 400], iscrowd=1)
    path = write(tmp_path, [1], [crowd, annotation(1, [0, 0, 50, 50])])
    inside = [([210.0, 210, 230, 230], 0.9, 0), ([300.0, 300, 330, 330], 0.8, 0)]
    result = score(path, {1: [*inside, ([0, 0, 50, 50], 0.7, 0)]}, engine=engine)
    assert result.ap == ONE
    assert result.per_class[0].num_objects == 1


def test_a_category_without_objects_is_left_out_of_the_average(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 50, 50]), annotation(1, [0, 0, 9, 9], 7)])
    result = score(path, {1: [([0, 0, 50, 50], 0.9, 0), ([0, 0, 40, 40], 0.9, 2)]}, engine=engine)
    assert result.ap == pytest.approx(0.5)
    assert [row.ap for row in result.per_class[:2]] == [ONE, 0.0]
    assert math.isnan(result.per_class[2].ap)
    assert result.class_table().splitlines()[3].split() == ["bird", "0", "-", "-"]


def test_missing_area_is_that_of_the_box(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 31, 33]), annotation(1, [0, 0, 200, 200], area=900)])
    result = score(path, {1: [([0, 0, 31, 33], 0.9, 0)]}, engine=engine)
    assert result.ar_small == 0.5
    assert math.isnan(result.ar_medium)


def test_no_detection_at_all_scores_zero(tmp_path: Path, engine: str) -> None:
    sizes = {1: 10.0, 2: 50.0, 3: 300.0}
    path = write(tmp_path, list(sizes), [annotation(image, [0, 0, s, s]) for image, s in sizes.items()])
    result = score(path, {image: [] for image in sizes}, engine=engine)
    assert set(result.metrics().values()) == {0.0}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_numbers_equal_those_of_torchmetrics(tmp_path: Path, engine: str, seed: int) -> None:
    path, detections = random_scene(tmp_path, seed)
    result, expected = score(path, detections, engine=engine), torchmetrics_result(path, detections)
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    names += ["mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"]
    # Torchmetrics computes widths in float32, which moves an overlap by 1e-7: no threshold lies that near.
    assert list(result.metrics().values()) == pytest.approx([float(expected[name]) for name in names], abs=1e-6)
    per_class = dict(zip(expected["classes"].tolist(), expected["map_per_class"].tolist(), strict=True))
    assert {row.id: row.ap for row in result.per_class} == pytest.approx(per_class, abs=1e-6)


@pytest.mark.parametrize("name", ENGINE_NAMES[1:])
def test_engines_agree_on_perturbed_real_annotations(shared: Path, name: str) -> None:
    pytest.importorskip(name)
    path = shared / "data/coco_sample/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    categories = [category["id"] for category in content["categories"]]
    generator = np.random.default_rng(0)
    rows: dict[int, list[Row]] = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        x, y, w, h = np.array(entry["bbox"]) + generator.normal(0, 0.05, 4) * np.tile(entry["bbox"][2:], 2)
        label = categories.index(entry["category_id"])
        rows[entry["image_id"]].append(([x, y, x + w, y + h], float(generator.random()), label))
    first, second = (score(path, rows, engine=engine, category_ids=categories) for engine in (ENGINE_NAMES[0], name))
    assert first.metrics() == pytest.approx(second.metrics(), abs=1e-6)
    assert 0.3 < first.ap < 0.95
    assert [row.ap for row in first.per_class] == pytest.approx([row.ap for row in second.per_class], nan_ok=True)
    assert sum(row.num_objects for row in first.per_class) == 323


def test_order_and_size_of_batches_do_not_matter(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, seed=3)
    expected = score(path, detections, size=1)
    backwards = dict(reversed(detections.items()))
    for size in (3, len(detections)):
        assert score(path, backwards, size=size).metrics() == expected.metrics()


def test_images_that_arrive_again_count_once(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, seed=4)
    metric = evaluator(path)
    for image, rows in [*detections.items(), *list(detections.items())[:3]]:
        metric.update(batch([rows]), torch.tensor([image]))
    result, expected = metric.compute(), score(path, detections)
    assert result.metrics() == expected.metrics()
    assert (result.num_images, result.num_detections) == (12, expected.num_detections)
    assert (result.num_repeats, expected.num_repeats) == (3, 0)


def test_padding_is_no_detection(tmp_path: Path) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 50, 50])])
    metric = evaluator(path)
    padded = batch([[([0, 0, 50, 50], 0.9, 0)]], width=7)
    padded.boxes[0, 3] = math.nan
    metric.update(padded, torch.tensor([1]))
    assert [metric.compute().ap, metric.compute().num_detections] == [ONE, 1]


@pytest.mark.parametrize("change", ["box", "score"])
def test_a_number_that_is_not_finite_never_passes_for_a_match(tmp_path: Path, change: str) -> None:
    path = write(tmp_path, [1, 8], [annotation(1, [0, 0, 50, 50]), annotation(8, [0, 0, 50, 50])])
    metric = evaluator(path)
    detections = batch([[([0, 0, 50, 50], 0.9, 0)], [([0, 0, 50, 50], 0.9, 0), ([0, 0, 9, 9], 0.8, 0)]])
    if change == "box":
        detections.boxes[1, 0, 2] = math.nan
    else:
        detections.scores[1, 0] = math.inf
    metric.update(detections, torch.tensor([1, 8]))
    with pytest.raises(ValueError, match="1 of 3 are not, in 1 image, ids 8"):
        metric.compute()


def test_missing_and_unknown_images_are_errors(tmp_path: Path) -> None:
    path = write(tmp_path, [1, 2, 4], [annotation(1, [0, 0, 50, 50]), annotation(4, [0, 0, 50, 50])])
    one: dict[int, list[Row]] = {1: [([0, 0, 50, 50], 0.9, 0)]}
    with pytest.raises(ValueError, match=r"all 3 images .* 2 are missing: 2, 4; set expect_all_images=False"):
        score(path, one)
    with pytest.raises(ValueError, match="1 are not: 5"):
        score(path, {**one, 5: []}, expect_all_images=False)
    partial = score(path, one, expect_all_images=False)
    assert [partial.ap, partial.num_images] == [ONE, 1]
    with pytest.raises(ValueError, match="update was never called"):
        evaluator(path, expect_all_images=False).compute()


def test_classes_without_a_category_are_counted_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 50, 50], 7)])
    rows = [([0, 0, 50, 50], 0.9, 0), ([0, 0, 50, 50], 0.8, 2), ([0, 0, 50, 50], 0.7, 3)]
    result = score(path, {1: rows}, category_ids=[None, 3, None, 7, 90])
    assert [result.ap, result.num_detections, result.num_unmapped] == [ONE, 1, 2]
    assert "left out: class without category       2" in result.table()


def test_mapping_mistakes_are_errors(tmp_path: Path) -> None:
    path = write(tmp_path, [1], [])
    with pytest.raises(ValueError, match=r"category_ids must be listed .* \[4, 5\]"):
        evaluator(path, category_ids=[3, 4, 5])
    with pytest.raises(ValueError, match=r"each category once, \[3\]"):
        evaluator(path, category_ids=[3, 7, 3])
    with pytest.raises(ValueError, match=r"class indices in 0\.\.2.* got 3"):
        score(path, {1: [([0, 0, 50, 50], 0.9, 3)]})


def test_categories_that_the_model_cannot_find_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    evaluator(write(tmp_path, [1], []), category_ids=[3])
    assert "2 categories" in caplog.text
    assert "dog, bird" in caplog.text


@pytest.mark.parametrize(("name", "package"), [("faster_coco_eval", "faster-coco-eval"), ("hotcoco", "hotcoco")])
def test_an_engine_that_is_not_installed_names_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    path = write(tmp_path, [1], [])
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install {package}$"):
        evaluator(path, engine=name)
    with pytest.raises(ValueError, match="engine must be one of"):
        evaluator(path, engine="lvis")


def test_reset_forgets_the_epoch_and_nothing_is_saved(tmp_path: Path) -> None:
    path, detections = random_scene(tmp_path, seed=5)
    metric = evaluator(path)
    expected = score(path, detections).metrics()
    for _ in range(2):
        for image, rows in detections.items():
            metric.update(batch([rows]), torch.tensor([image]))
        assert metric.compute().metrics() == expected
        metric.reset()
    assert metric.state_dict() == {}
    with pytest.raises(ValueError, match="12 are missing"):
        metric.compute()


def test_the_detections_of_the_latest_evaluation_stay_at_hand(tmp_path: Path) -> None:
    path = write(tmp_path, [1, 2], [annotation(1, [0, 0, 50, 50])])
    metric = evaluator(path)
    with pytest.raises(ValueError, match="compute must be called before records"):
        metric.records()
    metric.update(batch([[([0, 0, 50, 50], 0.5, 1)], []]), torch.tensor([2, 1]))
    metric.compute()
    metric.reset()
    assert metric.records() == [{"image_id": 2, "category_id": 7, "bbox": [0, 0, 50, 50], "score": 0.5}]


def test_update_keeps_its_own_copy(tmp_path: Path) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 50, 50])])
    metric, detections = evaluator(path), batch([[([0, 0, 50, 50], 0.9, 0)]])
    metric.update(detections, torch.tensor([1]))
    detections.boxes.zero_()
    assert metric.compute().ap == ONE


def test_the_limit_of_detections_holds_per_image_and_category(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 50, 50])])
    false: list[Row] = [([100.0 + i, 100, 150.0 + i, 150], 0.9 - i / 1000, 0) for i in range(20)]
    rows = {1: [*false, ([0.0, 0, 50, 50], 0.1, 0)]}
    assert score(path, rows, engine=engine, max_detections=20).ap == 0.0
    result = score(path, rows, engine=engine, max_detections=21)
    assert result.ap == pytest.approx(1 / 21)
    assert result.metrics()["AR21"] == 1.0


def test_the_table_has_one_row_per_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 100, 100])])
    result = score(path, {1: [([0, 0, 100, 62], 0.9, 0)]})
    rows = dict(line.split(maxsplit=1) for line in result.table().splitlines())
    assert rows["AP50"] == "100.00"
    assert (rows["AP"], rows["APs"], rows["images"]) == ("30.00", "-", "1")
    assert " ".join(list(rows)[:12]) == "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl"
    assert capsys.readouterr().out == ""


def test_result_file_entries_are_plain_numbers_in_xywh() -> None:
    detections = batch([[([10, 20, 40, 60], 0.5, 1), ([0, 0, 1, 1], 0.25, 0)], [([1, 2, 3, 5], 0.75, 1)]], width=3)
    entries = to_coco_results(detections, torch.tensor([4, 2]), category_ids=[None, 90])
    assert json.loads(json.dumps(entries)) == [
        {"image_id": 4, "category_id": 90, "bbox": [10.0, 20.0, 30.0, 40.0], "score": 0.5},
        {"image_id": 2, "category_id": 90, "bbox": [1.0, 2.0, 2.0, 3.0], "score": 0.75},
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_detections_may_have_any_float_type(tmp_path: Path, dtype: torch.dtype) -> None:
    path = write(tmp_path, [1], [annotation(1, [0, 0, 48, 64])])
    change: Callable[[Tensor], Tensor] = lambda t: t.to(dtype) if t.is_floating_point() else t  # noqa: E731
    metric = evaluator(path)
    metric.update(batch([[([0, 0, 48, 64], 0.5, 0)]]).map(change), torch.tensor([1]))
    assert metric.compute().ap == ONE
