"""LVIS's numbers against its rules written out slowly, and against hand-worked cases."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deta.evaluation import LvisEvaluator, LvisResult, engines, read_evaluation, write_evaluation
from deta.structures import Detections
from tests.evaluation.lvis_rules import lvis_numbers

pytest.importorskip("faster_coco_eval")
CATEGORIES = {3: "r", 7: "c", 90: "f", 91: "f"}
Row = tuple[Sequence[float], float, int]
"""Box ``x, y, width, height``, score, category id."""


def image(image_id: int, negative: Sequence[int] = (), not_exhaustive: Sequence[int] = ()) -> dict[str, Any]:
    """An entry of ``images``."""
    return {
        "id": image_id,
        "width": 640,
        "height": 480,
        "coco_url": f"http://example.org/val2017/{image_id}.jpg",
        "neg_category_ids": list(negative),
        "not_exhaustive_category_ids": list(not_exhaustive),
    }


def write(folder: Path, images: Sequence[dict[str, Any]], objects: Sequence[tuple[int, int, Sequence[float]]]) -> Path:
    """A file with objects ``(image id, category id, box xywh)``; the mask fills 60 % of the box."""
    rows = [
        {"id": k, "image_id": owner, "category_id": category, "bbox": list(box), "area": box[2] * box[3] * 0.6}
        for k, (owner, category, box) in enumerate(objects, start=1)
    ]
    categories = [{"id": key, "name": f"thing {key}", "frequency": group} for key, group in CATEGORIES.items()]
    path = folder / "lvis.json"
    path.write_text(json.dumps({"annotations": rows, "images": list(images), "categories": categories}))
    return path


def score(
    path: Path,
    detections: Mapping[int, Sequence[Row]],
    *,
    category_ids: Sequence[int] = tuple(CATEGORIES),
    limit: int = 300,
) -> tuple[LvisResult, list[dict[str, Any]]]:
    """The result, and the detections as records."""
    metric = LvisEvaluator(annotations=path, category_ids=category_ids, max_detections=limit)
    for owner, rows in detections.items():
        boxes = torch.tensor([[x, y, x + w, y + h] for (x, y, w, h), _, _ in rows], dtype=torch.float64).reshape(
            1, -1, 4
        )
        metric.update(
            Detections(
                boxes=boxes,
                scores=torch.tensor([[value for _, value, _ in rows]], dtype=torch.float64),
                labels=torch.tensor([[category_ids.index(category) for _, _, category in rows]], dtype=torch.int64),
                is_detection=torch.ones(1, len(rows), dtype=torch.bool),
            ),
            torch.tensor([owner]),
        )
    result = metric.compute()
    assert isinstance(result, LvisResult)
    return result, metric.records()


def random_detections(
    generator: np.random.Generator, content: Mapping[str, Any], category_ids: Sequence[int], num_false: int
) -> dict[int, list[Row]]:
    """Objects displaced, some of them confused or found twice, and random boxes."""
    detections: dict[int, list[Row]] = {entry["id"]: [] for entry in content["images"]}
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        for _ in range(int(generator.integers(0, 4))):
            dx, dy = generator.normal(0, 0.07, 2) * (width, height)
            category = entry["category_id"] if generator.random() < 0.8 else int(generator.choice(category_ids))
            detections[entry["image_id"]].append(([x + dx, y + dy, width, height], generator.random(), category))
    for rows in detections.values():
        for _ in range(num_false):
            box = [*generator.uniform(0, 300, 2).tolist(), *generator.uniform(5, 200, 2).tolist()]
            rows.append((box, generator.random(), int(generator.choice(category_ids))))
    return detections


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [300, 6])
def test_numbers_are_those_of_the_rules_on_random_scenes(tmp_path: Path, seed: int, limit: int) -> None:
    generator = np.random.default_rng(seed)
    keys = list(CATEGORIES)
    images = [image(k, generator.choice(keys, 1).tolist(), generator.choice(keys, 1).tolist()) for k in (5, 2, 9, 4)]
    objects = [
        (int(generator.choice([5, 2, 9, 4])), int(generator.choice(keys)), [*generator.uniform(0, 300, 2), *size])
        for size in np.exp(generator.uniform(np.log(8), np.log(250), (25, 2))).tolist()
    ]
    path = write(tmp_path, images, objects)
    detections = random_detections(generator, json.loads(path.read_text()), keys, num_false=5)
    result, records = score(path, detections, limit=limit)
    expected = lvis_numbers(path, records, limit=limit)
    assert result.ap > 0.05
    assert result.metrics() == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_numbers_are_those_of_the_rules_on_real_annotations(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "data/lvis_sample/annotations/lvis_v1_val.json"
    content = json.loads(path.read_text())
    keys = [category["id"] for category in content["categories"]]
    present = sorted({entry["category_id"] for entry in content["annotations"]})
    detections = random_detections(np.random.default_rng(0), content, present, num_false=40)
    result, records = score(path, detections, category_ids=keys)
    assert result.metrics() == pytest.approx(lvis_numbers(path, records), abs=1e-9)
    assert min(result.ap_rare, result.ap_common, result.ap_frequent) > 0.1
    monkeypatch.setattr(engines, "_BLOCK", 2000)
    assert score(path, detections, category_ids=keys)[0] == result


BOX = [10.0, 10.0, 50.0, 50.0]
FAR = [300.0, 300.0, 50.0, 50.0]


@pytest.mark.parametrize(
    ("other", "ap"),
    [
        (image(2), 1.0),  # nobody looked for category 3 there
        (image(2, negative=[3]), 0.5),
        (image(2, not_exhaustive=[3]), 1.0),
        (image(2, negative=[3], not_exhaustive=[3]), 1.0),
    ],
    ids=["not looked for", "absent", "not exhaustive", "both"],
)
def test_a_false_detection_counts_where_its_category_is_known_to_be_absent(
    tmp_path: Path, other: dict[str, Any], ap: float
) -> None:
    path = write(tmp_path, [image(1), other], [(1, 3, BOX)])
    result, _ = score(path, {1: [(BOX, 0.5, 3)], 2: [(BOX, 0.9, 3)]})
    assert result.ap == pytest.approx(ap)
    assert result.ap_rare == result.ap
    assert math.isnan(result.ap_common)
    assert math.isnan(result.ap_frequent)


def test_a_second_detection_of_an_object_counts_only_where_the_image_is_annotated_exhaustively(tmp_path: Path) -> None:
    for not_exhaustive, ap in (((), 0.5), ((7,), 1.0)):
        path = write(tmp_path, [image(1, not_exhaustive=not_exhaustive)], [(1, 7, BOX)])
        result, _ = score(path, {1: [(FAR, 0.9, 7), (BOX, 0.5, 7)]})
        assert result.ap == pytest.approx(ap)


def test_the_limit_is_of_the_image_and_not_of_each_category(tmp_path: Path) -> None:
    path = write(tmp_path, [image(1)], [(1, 3, BOX), (1, 7, FAR)])
    detections = {1: [(BOX, 0.5, 3), (FAR, 0.9, 7), (FAR, 0.1, 3)]}
    assert score(path, detections, limit=2)[0].ap == pytest.approx(1.0)
    cut = score(path, detections, limit=1)[0]
    assert cut.ap_rare == 0
    assert cut.ap_common == pytest.approx(1.0)
    assert cut.num_detections == 1
    assert "AR1" in cut.metrics()


def test_nothing_detected_gives_zeros(tmp_path: Path) -> None:
    path = write(tmp_path, [image(1)], [(1, 3, BOX)])
    result, _ = score(path, {1: []})
    assert (result.ap, result.ap_rare, result.ar) == (0.0, 0.0, 0.0)


def test_a_stored_evaluation_has_numbers_and_no_matches(tmp_path: Path) -> None:
    path = write(tmp_path, [image(1)], [(1, category, [0, 0, 9, 9]) for category in CATEGORIES])
    metric = LvisEvaluator(annotations=path, category_ids=tuple(CATEGORIES))
    none = torch.zeros(1, 0)
    metric.update(Detections(torch.zeros(1, 0, 4), none, none.long(), none.bool()), torch.tensor([1]))
    (tmp_path / "matches.npz").write_text("of an earlier evaluation")
    write_evaluation(tmp_path, metric, metric.compute())
    stored = read_evaluation(tmp_path)
    assert stored is not None
    assert (stored.metrics["APr"], stored.metrics["APf"]) == (0.0, 0.0)
    assert not stored.has_matches


def test_the_table_names_the_groups(tmp_path: Path) -> None:
    path = write(tmp_path, [image(1)], [(1, 3, BOX)])
    result, _ = score(path, {1: [(BOX, 0.5, 3)]})
    rows = dict(line.split() for line in result.table().splitlines())
    assert (rows["APr"], rows["APc"], rows["AR300"]) == ("100.00", "-", "100.00")


def test_a_file_of_coco_is_refused(shared: Path) -> None:
    path = shared / "data/coco_sample/annotations/instances_val2017.json"
    with pytest.raises(ValueError, match=r"layout of COCO .* evaluator=coco"):
        LvisEvaluator(annotations=path, category_ids=[1])


def test_a_category_without_a_frequency_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [image(1)], [(1, 3, BOX)])
    path.write_text(path.read_text().replace('"frequency": "c"', '"frequency": "x"'))
    with pytest.raises(ValueError, match='frequency is not one of r, c, f: category 7: "x"'):
        LvisEvaluator(annotations=path, category_ids=list(CATEGORIES))
