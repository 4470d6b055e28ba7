"""What an annotation file holds: sizes, numbers, categories and overlap of objects."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deta.data.categories import Categories
from deta.data.coco import CocoAnnotations
from deta.structures import LARGE_AREA, SIZE_NAMES, SMALL_AREA

OVERLAP_LIMITS = (0.1, 0.3, 0.5, 0.7)
"""IoU limits that the summary counts overlapping objects by."""
_PAIRS_AT_ONCE = 2**20
"""Pairs of boxes whose overlap is in memory, some 100 bytes each."""
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class DatasetStatistics:
    """The objects of an annotation file, crowds left out (``A`` objects, ``N`` images).

    Attributes:
        categories: What labels mean.
        labels: ``[A]`` int64 class index.
        areas: ``[A]`` float64 annotated area in pixels squared.
        aspects: ``[A]`` float64 width over height of the box.
        overlaps: ``[A]`` float64 highest IoU with another object of the image; 0 where there is none.
        same_overlaps: ``[A]`` float64 the same among objects of one class.
        num_objects: ``[N]`` int64 objects of every image.
        image_sizes: ``[N, 2]`` int64 ``(height, width)`` in pixels.
        num_crowds: Crowd areas.
        images_per_class: ``[C]`` int64 images that hold an object of the class.
    """

    categories: Categories
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    aspects: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    same_overlaps: NDArray[np.float64]
    num_objects: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    num_crowds: int
    images_per_class: NDArray[np.int64]

    def size_counts(self) -> dict[str, int]:
        """Objects by COCO's size limits."""
        sizes = (self.areas >= SMALL_AREA).astype(np.int64) + (self.areas >= LARGE_AREA)
        return dict(zip(SIZE_NAMES, np.bincount(sizes, minlength=3).tolist(), strict=True))

    def summary(self) -> dict[str, float]:
        """Named numbers: counts, shares in 0..1, quantiles; NaN where there is no object or image."""
        num = len(self.labels)
        shares = {f"share_{name}": _share(count, num) for name, count in self.size_counts().items()}
        crowded = {
            f"share_overlapping_{limit:g}": _share(int((self.overlaps >= limit).sum()), num) for limit in OVERLAP_LIMITS
        }
        same = {
            f"share_overlapping_same_class_{limit:g}": _share(int((self.same_overlaps >= limit).sum()), num)
            for limit in OVERLAP_LIMITS
        }
        return {
            "images": len(self.num_objects),
            "images_without_objects": int((self.num_objects == 0).sum()),
            "objects": num,
            "crowds": self.num_crowds,
            "categories": len(self.categories),
            "categories_without_objects": int((self._objects_per_class() == 0).sum()),
            "objects_per_image_mean": _share(num, len(self.num_objects)),
            "objects_per_image_max": int(self.num_objects.max(initial=0)),
            **shares,
            **_quantiles("side_px", np.sqrt(self.areas)),
            **_quantiles("aspect", self.aspects),
            **_quantiles("image_height_px", self.image_sizes[:, 0]),
            **_quantiles("image_width_px", self.image_sizes[:, 1]),
            **crowded,
            **same,
        }

    def category_rows(self) -> list[dict[str, object]]:
        """One row per category: id, name, objects, images, small, medium, large, and the mean overlap."""
        sizes = (self.areas >= SMALL_AREA).astype(np.int64) + (self.areas >= LARGE_AREA)
        counts = np.zeros((len(self.categories), len(SIZE_NAMES)), dtype=np.int64)
        np.add.at(counts, (self.labels, sizes), 1)
        overlaps = np.bincount(self.labels, weights=self.overlaps, minlength=len(self.categories))
        return [
            {
                "id": identity,
                "name": name,
                "objects": int(counts[k].sum()),
                "images": int(self.images_per_class[k]),
                **dict(zip(SIZE_NAMES, counts[k].tolist(), strict=True)),
                "mean_overlap": overlaps[k] / counts[k].sum() if counts[k].sum() else None,
            }
            for k, (identity, name) in enumerate(zip(self.categories.ids, self.categories.names, strict=True))
        ]

    def _objects_per_class(self) -> NDArray[np.int64]:
        return np.bincount(self.labels, minlength=len(self.categories))


def dataset_statistics(annotations: CocoAnnotations) -> DatasetStatistics:
    """Count and measure; boxes are those of the training, clipped to their image."""
    is_object = ~annotations.is_crowd
    overlaps, same = np.zeros((2, len(annotations.boxes)))
    for index in range(len(annotations)):
        rows = np.arange(*annotations.rows(index).indices(len(annotations.boxes)))
        rows = rows[is_object[rows]]
        if len(rows) > 1:
            boxes = annotations.boxes[rows].astype(np.float64)
            overlaps[rows], same[rows] = _highest_overlaps(boxes, annotations.labels[rows])
    boxes = annotations.boxes[is_object].astype(np.float64)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))[is_object]
    labels = annotations.labels[is_object]
    present = np.unique(np.stack((images, labels)), axis=1)
    return DatasetStatistics(
        categories=annotations.categories,
        labels=labels,
        areas=annotations.areas[is_object].astype(np.float64),
        aspects=width / height,
        overlaps=overlaps[is_object],
        same_overlaps=same[is_object],
        num_objects=annotations.num_objects(),
        image_sizes=annotations.sizes,
        num_crowds=int(annotations.is_crowd.sum()),
        images_per_class=np.bincount(present[1], minlength=len(annotations.categories)),
    )


def _highest_overlaps(
    boxes_xyxy: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Highest IoU of each of ``K`` boxes with an area with another one, and with another one of its class."""
    num = len(boxes_xyxy)
    overlaps, same = np.zeros((2, num))
    step = max(1, _PAIRS_AT_ONCE // num)
    for first in range(0, num, step):
        part = slice(first, first + step)
        iou = _pairwise_iou(boxes_xyxy[part], boxes_xyxy)
        iou[np.arange(len(iou)), np.arange(first, first + len(iou))] = 0.0  # with itself
        overlaps[part] = iou.max(axis=1)
        same[part] = np.where(labels[part, None] == labels, iou, 0.0).max(axis=1)
    return overlaps, same


def _pairwise_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[K, L]`` IoU of boxes ``xyxy`` with an area."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, others = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second))
    iou: NDArray[np.float64] = shared / (areas[:, None] + others - shared)
    return iou


def _quantiles(name: str, values: NDArray[np.float64] | NDArray[np.int64]) -> dict[str, float]:
    found = np.quantile(values, _QUANTILES).tolist() if len(values) else [math.nan] * len(_QUANTILES)
    return {f"{name}_q{round(100 * q):02d}": value for q, value in zip(_QUANTILES, found, strict=True)}


def _share(count: int, total: int) -> float:
    return count / total if total else math.nan
