"""Ids of images, annotations and categories are names: no number depends on them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.evaluation.test_evaluation import annotation, score, write
from tests.evaluation.test_evaluation import engine as engine

IDS = {
    "from 2 ** 53": [2**53 + k for k in range(4)],
    "at the end of 64 bits": [2**63 - 4 + k for k in range(4)],
    "negative": [-7, -5, -3, -1],
    "zero among them": [-1, 0, 1, 2],
}


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_any_size_and_sign_change_no_number(tmp_path: Path, engine: str, kind: str) -> None:
    boxes = [[10, 10, 60, 60], [100, 20, 300, 220], [5, 5, 20, 20], [30, 40, 130, 90]]

    def numbers(ids: Sequence[int], categories: Sequence[int]) -> tuple[dict[str, float], list[float]]:
        folder = tmp_path / str(ids[0])
        folder.mkdir(exist_ok=True)
        path = write(folder, ids, [annotation(i, boxes[k], categories[k % 3]) for k, i in enumerate(ids)])
        content = json.loads(path.read_text())
        content["categories"] = [{"id": category, "name": str(category)} for category in categories]
        path.write_text(json.dumps(content))
        found = {i: [(boxes[k], 0.9 - 0.1 * k, k % 3), (boxes[0], 0.45, 1)] for k, i in enumerate(ids)}
        result = score(path, found, engine=engine, category_ids=list(categories))
        return result.metrics(), [row.ap for row in result.per_class]

    expected, expected_classes = numbers([1, 2, 3, 4], [3, 7, 90])
    metrics, classes = numbers(IDS[kind], IDS[kind][:3])
    assert metrics == pytest.approx(expected, nan_ok=True, abs=1e-12)
    assert classes == pytest.approx(expected_classes, nan_ok=True, abs=1e-12)
    assert expected["AP"] > 0.5
