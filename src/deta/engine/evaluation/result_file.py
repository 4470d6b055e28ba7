"""Reading COCO's result file: final detections of any detector."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from deta.data.problems import Problems
from deta.engine.evaluation.detections import CocoDetections
from deta.engine.evaluation.ground_truth import GroundTruth

_KEYS = ("image_id", "category_id", "bbox", "score")


def read_results(path: Path, ground_truth: GroundTruth) -> CocoDetections:
    """Read a result file and check it against the ground truth; an empty list is valid.

    Args:
        path: JSON list of ``image_id``, ``category_id``, ``bbox`` (xywh in pixels) and ``score``; further keys of
            an entry are ignored.
        ground_truth: Lists the images and categories that may occur.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a list, a number is not finite, or an image or category is not in the ground
            truth: those detections would count for nothing in silence. All kinds of faults are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"result file {path} does not exist")
    try:
        entries = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} must hold a list of detections as COCO's result files do, not an object or a value")
    problems = Problems(str(path))
    images, categories = set(ground_truth.image_ids.tolist()), set(ground_truth.category_ids)
    for position, entry in enumerate(entries):
        fault = _fault(entry)
        if fault is not None:
            problems.add(fault, f"entry {position}")
        elif entry["image_id"] not in images:
            problems.add(f"detection in an image that {ground_truth.path} does not list", str(entry["image_id"]))
        elif entry["category_id"] not in categories:
            problems.add(f"detection of a category that {ground_truth.path} does not list", str(entry["category_id"]))
    problems.raise_if_any()
    return CocoDetections(
        image_ids=np.array([entry["image_id"] for entry in entries], dtype=np.int64),
        category_ids=np.array([entry["category_id"] for entry in entries], dtype=np.int64),
        boxes_xywh=np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4),
        scores=np.array([entry["score"] for entry in entries], dtype=np.float64),
        num_unmapped=0,
    )


def _fault(entry: Any) -> str | None:  # noqa: ANN401 - any JSON, which is what it checks
    if not isinstance(entry, dict) or not all(key in entry for key in _KEYS):
        return f"entry without {', '.join(_KEYS)}"
    if not all(type(entry[key]) is int for key in ("image_id", "category_id")):
        return "image_id or category_id that is not an integer"
    box, score = entry["bbox"], entry["score"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        return "bbox that is not four finite numbers"
    if not _is_finite(score):
        return "score that is not a finite number"
    return None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
