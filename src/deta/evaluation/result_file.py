"""Reading COCO's result file: final detections of any detector."""

from array import array
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from deta.data.json_file import read_elements
from deta.data.problems import Problems
from deta.data.rows import Id, Number, RowReader
from deta.evaluation.detections import CocoDetections
from deta.evaluation.ground_truth import GroundTruth

_Side = Annotated[float, Meta(ge=0, lt=1e9)]
_RULES = {
    "image_id": "image_id is not an integer",
    "category_id": "category_id is not an integer",
    "bbox": "bbox is not four numbers [x, y, width, height] below 1e9, the sides at least 0",
    "score": "score is not a number",
}


class _Detection(Struct, gc=False):
    image_id: Id
    category_id: Id
    bbox: tuple[Number, Number, _Side, _Side]
    score: float


def read_results(path: Path, ground_truth: GroundTruth) -> CocoDetections:
    """Read a result file and check it against the ground truth; an empty list is valid.

    Args:
        path: JSON list of ``image_id``, ``category_id``, ``bbox`` (xywh in pixels) and ``score``; further keys of
            an entry are ignored.
        ground_truth: Lists the images and categories that may occur.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a list, a number is not finite or a side negative, or an image or category is not
            in the ground truth: those detections would count for nothing in silence. All kinds of faults are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"result file {path} does not exist")
    problems = Problems(str(path))
    reader = RowReader(_Detection, what="detection", rules=_RULES, problems=problems, max_bytes=None)
    images, categories, boxes, scores = array("q"), array("q"), array("d"), array("d")
    for row in reader.read(read_elements(path)):
        images.append(row.image_id)
        categories.append(row.category_id)
        boxes.extend(row.bbox)
        scores.append(row.score)
    found = CocoDetections(
        image_ids=np.frombuffer(images, dtype=np.int64),
        category_ids=np.frombuffer(categories, dtype=np.int64),
        boxes_xywh=np.frombuffer(boxes, dtype=np.float64).reshape(-1, 4),
        scores=np.frombuffer(scores, dtype=np.float64),
        num_unmapped=0,
    )
    for what, ids, listed in (
        ("in an image", found.image_ids, ground_truth.image_ids),
        ("of a category", found.category_ids, np.array(ground_truth.category_ids, dtype=np.int64)),
    ):
        for identity in ids[~np.isin(ids, listed)].tolist():
            problems.add(f"detection {what} that {ground_truth.path} does not list", str(identity))
    problems.raise_if_any()
    return found
