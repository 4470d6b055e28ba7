"""The rules of LVIS written out slowly, for comparison: one image, one category, one threshold at a time.

Source: arXiv:1908.03195, sec. 3 and 4.2, and the evaluation that its authors published.
"""

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLDS: list[float] = np.linspace(0.5, 0.95, 10).tolist()
RECALLS: list[float] = np.linspace(0, 1, 101).tolist()
"""With the rounding of the published evaluation: 29 of 100 objects reach one of these or just fail to."""
SIZES = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}


@dataclass
class Found:
    """A detection after matching: its score, and for every threshold whether it is right or wrong; neither: ignored."""

    score: float
    is_right: list[bool]
    is_wrong: list[bool]


def lvis_numbers(path: Path, records: Sequence[Mapping[str, Any]], *, limit: int = 300) -> dict[str, float]:
    """LVIS's thirteen numbers of detections in the layout of COCO's result file."""
    content = json.loads(path.read_text())
    by_image = {image["id"]: best(records, image["id"], limit) for image in content["images"]}
    curves: dict[tuple[int, str], tuple[list[list[float]], list[float]]] = {}
    for category in content["categories"]:
        for size, limits in SIZES.items():
            curve = average_precision(content, category["id"], by_image, limits)
            if curve is not None:
                curves[category["id"], size] = curve
    frequency = {category["id"]: category["frequency"] for category in content["categories"]}

    def precision(size: str = "", threshold: int | None = None, group: str = "rcf") -> float:
        return mean(
            value
            for (category, of_size), (precisions, _) in curves.items()
            if of_size == size and frequency[category] in group
            for k, row in enumerate(precisions)
            if threshold in (None, k)
            for value in row
        )

    def recall(size: str) -> float:
        return mean(value for (_, of_size), (_, recalls) in curves.items() if of_size == size for value in recalls)

    return {
        "AP": precision(),
        "AP50": precision(threshold=0),
        "AP75": precision(threshold=5),
        **{f"AP{size}": precision(size) for size in "sml"},
        **{f"AP{group}": precision(group=group) for group in "rcf"},
        f"AR{limit}": recall(""),
        **{f"AR{size}": recall(size) for size in "sml"},
    }


def best(records: Sequence[Mapping[str, Any]], image_id: int, limit: int) -> list[Mapping[str, Any]]:
    """The detections of an image with the highest scores."""
    own = [record for record in records if record["image_id"] == image_id]
    return sorted(own, key=lambda record: -record["score"])[:limit]


def average_precision(
    content: Mapping[str, Any],
    category: int,
    by_image: Mapping[int, list[Mapping[str, Any]]],
    size: tuple[float, float],
) -> tuple[list[list[float]], list[float]] | None:
    """Precision at every recall and the highest recall, of every threshold; None without an object of this size."""
    own = [row for row in content["annotations"] if row["category_id"] == category]
    num_objects = sum(size[0] <= row["area"] <= size[1] for row in own)
    if not num_objects:
        return None
    found: list[Found] = []
    for image in sorted(content["images"], key=lambda image: image["id"]):
        objects = [row for row in own if row["image_id"] == image["id"]]
        detections = [record for record in by_image[image["id"]] if record["category_id"] == category]
        if objects or category in image["neg_category_ids"]:  # others were not looked for in this image
            is_exhaustive = category not in image["not_exhaustive_category_ids"]
            found += match(objects, detections, size, is_exhaustive)
    found.sort(key=lambda detection: -detection.score)
    curves = [curve(found, k, num_objects) for k in range(len(THRESHOLDS))]
    return [row for row, _ in curves], [highest for _, highest in curves]


def match(
    objects: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    size: tuple[float, float],
    is_exhaustive: bool,
) -> list[Found]:
    """Give every detection, best first, the free object that it overlaps most, those of this size before others."""
    found = [Found(record["score"], [], []) for record in detections]
    for threshold in THRESHOLDS:
        free = list(range(len(objects)))
        for record, detection in zip(detections, found, strict=True):
            for is_counted in (True, False):
                choices = [
                    (overlap(record["bbox"], objects[k]["bbox"]), k)
                    for k in free
                    if (size[0] <= objects[k]["area"] <= size[1]) == is_counted
                ]
                choices = [choice for choice in choices if choice[0] >= min(threshold, 1 - 1e-10)]
                if choices:
                    break
            area = record["bbox"][2] * record["bbox"][3]
            if choices:
                free.remove(max(choices)[1])
            detection.is_right.append(bool(choices) and is_counted)
            detection.is_wrong.append(not choices and is_exhaustive and size[0] <= area <= size[1])
    return found


def curve(found: Sequence[Found], threshold: int, num_objects: int) -> tuple[list[float], float]:
    """Precision at every recall of ``RECALLS``, made monotonous, and the highest recall."""
    points: list[tuple[float, float]] = []
    num_right = num_wrong = 0
    for detection in found:
        num_right += detection.is_right[threshold]
        num_wrong += detection.is_wrong[threshold]
        points.append((num_right / num_objects, num_right / max(1, num_right + num_wrong)))
    reached = [recall for recall, _ in points]  # never falls
    highest = list(accumulate((precision for _, precision in reversed(points)), max))[::-1]  # from each point on
    precisions = [highest[k] if (k := bisect_left(reached, recall)) < len(points) else 0.0 for recall in RECALLS]
    return precisions, points[-1][0] if points else 0.0


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes ``x, y, width, height``."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (first[2] * first[3] + second[2] * second[3] - width * height)


def mean(values: Any) -> float:  # noqa: ANN401
    """Mean of an iterable; NaN of an empty one."""
    collected = list(values)
    return sum(collected) / len(collected) if collected else math.nan
