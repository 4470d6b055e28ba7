"""Ground truth and detections written as short rows, and random ones with every kind of mistake."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deta.data.image_rows import Ragged, offsets_of
from deta.evaluation import CocoDetections, GroundTruth

CATEGORY_IDS = (3, 7, 90)
Object = tuple[int, int, Sequence[float]]
"""Image id, category id, box xyxy."""
Found = tuple[int, int, Sequence[float], float]
"""Image id, category id, box xyxy, score."""


def ground_truth(
    objects: Sequence[Object], *, crowds: Sequence[Object] = (), images: Sequence[int] = ()
) -> GroundTruth:
    """Annotations of three categories; ``images`` adds images without any."""
    rows = [*objects, *crowds]
    boxes = _xywh([box for _, _, box in rows])
    return GroundTruth(
        path=Path("instances.json"),
        image_ids=np.unique([*images, *(image for image, _, _ in rows)]).astype(np.int64),
        category_ids=CATEGORY_IDS,
        category_names=("cat", "dog", "bird"),
        object_image_ids=np.array([image for image, _, _ in rows], dtype=np.int64),
        object_category_ids=np.array([category for _, category, _ in rows], dtype=np.int64),
        boxes_xywh=boxes,
        areas=boxes[:, 2:].prod(axis=1),
        is_crowd=np.arange(len(rows)) >= len(objects),
    )


def federated(
    truth: GroundTruth,
    *,
    negative: Mapping[int, Sequence[int]] | None = None,
    not_exhaustive: Mapping[int, Sequence[int]] | None = None,
) -> GroundTruth:
    """The same in the layout of LVIS; categories by image id, where there are any."""
    return replace(
        truth,
        frequencies=("r", "c", "f"),
        negative=_ragged(truth, negative or {}),
        not_exhaustive=_ragged(truth, not_exhaustive or {}),
    )


def detections(rows: Sequence[Found]) -> CocoDetections:
    """Detections in this order."""
    return CocoDetections(
        image_ids=np.array([row[0] for row in rows], dtype=np.int64),
        category_ids=np.array([row[1] for row in rows], dtype=np.int64),
        boxes_xywh=_xywh([row[2] for row in rows]),
        scores=np.array([row[3] for row in rows], dtype=np.float64),
        num_unmapped=0,
    )


def random_scene(seed: int, *, num_images: int = 12, crowds: bool = True) -> tuple[GroundTruth, CocoDetections]:
    """Objects of all sizes, crowds too; detections displaced, confused, repeated, out of place, with equal scores."""
    generator = np.random.default_rng(seed)
    objects: list[Object] = []
    areas: list[Object] = []
    found: list[Found] = []
    images = (generator.permutation(500)[:num_images] + 1).tolist()
    for image in images:
        for _ in range(int(generator.integers(0, 8))):
            size = np.exp(generator.uniform(np.log(8), np.log(250), size=2))
            corner = generator.uniform(0, 200, size=2)
            box = np.concatenate((corner, corner + size))
            category = int(generator.choice(CATEGORY_IDS))
            (areas if generator.random() < 0.1 and crowds else objects).append((image, category, box.tolist()))
            for _ in range(int(generator.integers(0, 4))):
                moved = box + generator.normal(0, generator.choice([0.08, 0.3]), size=4) * np.tile(size, 2)
                moved = np.concatenate((np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])))
                named = category if generator.random() < 0.8 else int(generator.choice(CATEGORY_IDS))
                found.append((image, named, moved.tolist(), float(generator.integers(1, 40)) / 40))
        stray = generator.uniform(0, 400, size=2)
        found.append((image, 3, [*stray, *(stray + 20)], float(generator.random())))
    return ground_truth(objects, crowds=areas, images=images), detections(found)


def _ragged(truth: GroundTruth, given: Mapping[int, Sequence[int]]) -> Ragged:
    rows = [given.get(image, ()) for image in truth.image_ids.tolist()]
    values = np.array([value for row in rows for value in row], dtype=np.int64)
    return Ragged(values, offsets_of(np.array([len(row) for row in rows])))


def _xywh(boxes_xyxy: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    corners = np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)
