"""Which detections of each image found an object: all that AP needs to know of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deta.evaluation.arrays import read_arrays
from deta.evaluation.detections import CocoDetections
from deta.evaluation.engines import prepare, silence
from deta.evaluation.ground_truth import GroundTruth
from deta.utils.files import replacing

_ALL_AREAS = [0.0, 1e10]
"""COCO's range of areas that leaves nothing out, in pixels squared."""
_NUM_THRESHOLDS = 10
_NOTHING: Mapping[str, Any] = {"dtScores": [], "dtMatches": [], "dtIgnore": []}


@dataclass(frozen=True)
class ImageMatches:
    """Detections of an evaluation as COCO's protocol matched them, objects of any size, without their boxes.

    Matching knows one image at a time; so this holds for whatever choice of the images.

    Attributes:
        image_ids: ``[I]`` int64, ascending.
        num_objects: ``[I, K]`` int64 objects to find of every image and category, crowds left out.
        images: ``[N]`` int64 index of the image of every detection; by category, in it by falling score.
        categories: ``[N]`` int64 index of its category.
        scores: ``[N]`` float64.
        is_match: ``[N, 10]`` bool, whether it found an object at the IoU thresholds 0.5 to 0.95.
        is_ignored: ``[N, 10]`` bool, whether it counts neither for nor against, as inside a crowd.
    """

    image_ids: NDArray[np.int64]
    num_objects: NDArray[np.int64]
    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    scores: NDArray[np.float64]
    is_match: NDArray[np.bool_]
    is_ignored: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write a compressed file; it appears whole or not at all."""
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(
                file,
                image_ids=self.image_ids,
                num_objects=self.num_objects.astype(np.int32),
                images=self.images.astype(np.int32),
                categories=self.categories.astype(np.int32),
                scores=self.scores,
                is_match=np.packbits(self.is_match, axis=1),
                is_ignored=np.packbits(self.is_ignored, axis=1),
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is something else.
        """
        names = [field.name for field in fields(cls)]
        content = read_arrays(path, names, what="matches", remedy="evaluate again")
        fault = _fault(content)
        if fault is not None:
            raise ValueError(f"{path} does not hold matches, {fault}: evaluate again")
        bits = {
            name: np.unpackbits(content[name], axis=1, count=_NUM_THRESHOLDS) for name in ("is_match", "is_ignored")
        }
        return cls(
            image_ids=content["image_ids"],
            num_objects=content["num_objects"].astype(np.int64),
            images=content["images"].astype(np.int64),
            categories=content["categories"].astype(np.int64),
            scores=content["scores"],
            is_match=bits["is_match"].astype(np.bool_),
            is_ignored=bits["is_ignored"].astype(np.bool_),
        )


def _fault(content: Mapping[str, NDArray[Any]]) -> str | None:
    """How arrays contradict each other; None if they do not."""
    num_images, num = content["image_ids"].size, content["scores"].size
    num_classes = content["num_objects"].shape[-1] if content["num_objects"].ndim else 0
    num_bytes = -(-_NUM_THRESHOLDS // 8)
    expected = {
        "image_ids": ((num_images,), "i"),
        "num_objects": ((num_images, num_classes), "i"),
        "images": ((num,), "i"),
        "categories": ((num,), "i"),
        "scores": ((num,), "f"),
        "is_match": ((num, num_bytes), "u"),
        "is_ignored": ((num, num_bytes), "u"),
    }
    for name, (shape, kind) in expected.items():
        if content[name].shape != shape or content[name].dtype.kind != kind:
            return f"{name} has shape {content[name].shape} and type {content[name].dtype}"
    for name, limit in (("images", num_images), ("categories", num_classes)):
        if ((content[name] < 0) | (content[name] >= limit)).any():
            return f"{name} points beyond what is there"
    return None


def match_images(ground_truth: GroundTruth, detections: CocoDetections, *, max_detections: int) -> ImageMatches:
    """Match the detections of every image with pycocotools.

    Args:
        ground_truth: Of the images to evaluate.
        detections: Of the same images, in any order of images; equal scores of an image keep their order.
        max_detections: Largest number of detections per image and category.
    """
    evaluation = prepare(ground_truth, detections, engine="pycocotools")
    with silence():
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [_ALL_AREAS], ["all"]
        evaluation.evaluate()
    num_images = len(ground_truth.image_ids)
    num_objects = np.zeros((num_images, len(ground_truth.category_ids)), dtype=np.int64)
    parts = []
    for place, found in enumerate(evaluation.evalImgs):
        if found is not None:
            category, image = divmod(place, num_images)
            num_objects[image, category] = np.count_nonzero(np.asarray(found["gtIgnore"]) == 0)
            parts.append(_part(found, image, category))
    columns = [np.concatenate(column) for column in zip(_part(_NOTHING, 0, 0), *parts, strict=True)]
    order = np.lexsort((-columns[2], columns[1]))  # stable, as COCO's own
    images, categories, scores, is_match, is_ignored = (column[order] for column in columns)
    return ImageMatches(ground_truth.image_ids, num_objects, images, categories, scores, is_match, is_ignored)


def _part(found: Mapping[str, Any], image: int, category: int) -> tuple[NDArray[Any], ...]:
    """Columns of the detections of one image and category: image, category, score, is_match, is_ignored."""
    count = len(found["dtScores"])
    return (
        np.full(count, image, dtype=np.int64),
        np.full(count, category, dtype=np.int64),
        np.asarray(found["dtScores"], dtype=np.float64),
        np.asarray(found["dtMatches"], dtype=np.bool_).reshape(_NUM_THRESHOLDS, count).T,
        np.asarray(found["dtIgnore"], dtype=np.bool_).reshape(_NUM_THRESHOLDS, count).T,
    )
