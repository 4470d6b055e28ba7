"""The annotations of a file: checked row by row and packed at once, as a file may hold a million of them."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deta.data.categories import Categories
from deta.data.problems import Problems
from deta.data.values import is_id, is_number

_LIMIT = 1e9
"""Largest believable coordinate, in pixels; the comparison also catches NaN and infinity."""
_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
_UNKNOWN_IMAGE = "annotation whose image_id is not among the images"
_UNKNOWN_CATEGORY = "annotation whose category_id is not among the categories"


@dataclass(frozen=True, eq=False)
class AnnotationColumns:
    """The annotations of a file, in file order (``A`` of them).

    Attributes:
        ids: ``[A]`` int64.
        images: ``[A]`` int64 row of the image in ``ImageColumns``.
        labels: ``[A]`` int64 contiguous class index.
        boxes: ``[A, 4]`` float64 ``x, y, width, height`` in pixels, exactly as in the file.
        areas: ``[A]`` float64 pixels squared; ``width * height`` where the file gives none.
        is_crowd: ``[A]`` bool, whether the box covers a group without single annotations.
        num_missing_area: Annotations without ``area``.
        num_missing_iscrowd: Annotations without ``iscrowd``, taken as 0.
    """

    ids: NDArray[np.int64]
    images: NDArray[np.int64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    num_missing_area: int
    num_missing_iscrowd: int


class AnnotationReader:
    """Takes the rows of ``annotations`` one by one; images and categories may come later in the file.

    Args:
        problems: Collects the faults; faulty rows are left out.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._num_rows = 0
        self._ids, self._images, self._categories = array("q"), array("q"), array("q")
        self._boxes, self._areas, self._is_crowd = array("d"), array("d"), array("b")
        self._num_missing_area = 0
        self._num_missing_iscrowd = 0
        self._suspects: list[dict[str, Any]] = []

    def add(self, row: object) -> None:
        """Check one row and keep what is needed of it."""
        position = self._num_rows
        self._num_rows += 1
        values: Mapping[str, Any] = row if isinstance(row, dict) else {}
        if not is_id(values.get("id")):
            self._problems.add("annotation whose id is not an integer", f"position {position}: {values.get('id')!r}")
        elif is_id(values.get("image_id")) and is_id(values.get("category_id")) and _value_fault(values) is None:
            self._keep(values)
        else:
            self._suspects.append({key: values[key] for key in _KEYS if key in values})

    def finish(self, image_ids: Sequence[int], categories: Categories) -> AnnotationColumns:
        """All rows; those that name what does not exist, and ids that occur twice, are added to the problems.

        Args:
            image_ids: Id of every row of the images.
            categories: What category ids mean.
        """
        ids = np.frombuffer(self._ids, dtype=np.int64)
        self._find_repeats(np.concatenate((ids, np.array([row["id"] for row in self._suspects], dtype=np.int64))))
        known_images, known_categories = set(image_ids), set(categories.ids)
        for row in self._suspects:
            fault = _reference_fault(row, known_images, known_categories) or _value_fault(row)
            if fault is not None:
                self._problems.add(fault[0], f"annotation {row['id']}: {fault[1]!r}")
        images, is_image = _look_up(np.frombuffer(self._images, dtype=np.int64), np.array(image_ids, dtype=np.int64))
        labels, is_label = _look_up(
            np.frombuffer(self._categories, dtype=np.int64), np.array(categories.ids, dtype=np.int64)
        )
        for place in np.flatnonzero(~is_image):
            self._problems.add(_UNKNOWN_IMAGE, f"annotation {ids[place]}: {self._images[place]}")
        for place in np.flatnonzero(is_image & ~is_label):
            self._problems.add(_UNKNOWN_CATEGORY, f"annotation {ids[place]}: {self._categories[place]}")
        return AnnotationColumns(
            ids=ids,
            images=images,
            labels=labels,
            boxes=np.frombuffer(self._boxes, dtype=np.float64).reshape(-1, 4),
            areas=np.frombuffer(self._areas, dtype=np.float64),
            is_crowd=np.frombuffer(self._is_crowd, dtype=np.bool_),
            num_missing_area=self._num_missing_area,
            num_missing_iscrowd=self._num_missing_iscrowd,
        )

    def _keep(self, row: Mapping[str, Any]) -> None:
        box = row["bbox"]
        self._ids.append(row["id"])
        self._images.append(row["image_id"])
        self._categories.append(row["category_id"])
        self._boxes.extend(box)
        self._areas.append(row.get("area", box[2] * box[3]))
        self._is_crowd.append(bool(row.get("iscrowd", 0)))
        self._num_missing_area += "area" not in row
        self._num_missing_iscrowd += "iscrowd" not in row

    def _find_repeats(self, ids: NDArray[np.int64]) -> None:
        in_order = np.sort(ids)
        for repeated in in_order[1:][in_order[1:] == in_order[:-1]].tolist():
            self._problems.add("annotation id listed more than once", str(repeated))


def _look_up(values: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Position of every value in ``known``, and whether it is there at all."""
    if not len(known):
        return np.zeros_like(values), np.zeros(len(values), dtype=np.bool_)
    order = np.argsort(known)
    positions = order[np.searchsorted(known, values, sorter=order).clip(max=len(known) - 1)]
    return positions, np.asarray(known[positions] == values)


def _reference_fault(row: Mapping[str, Any], images: set[int], categories: set[int]) -> tuple[str, Any] | None:
    image_id, category_id = row.get("image_id"), row.get("category_id")
    if not is_id(image_id):
        return "annotation whose image_id is not an integer", image_id
    if image_id not in images:
        return _UNKNOWN_IMAGE, image_id
    if not is_id(category_id):
        return "annotation whose category_id is not an integer", category_id
    if category_id not in categories:
        return _UNKNOWN_CATEGORY, category_id
    return None


def _value_fault(row: Mapping[str, Any]) -> tuple[str, Any] | None:
    box, area, crowd = row.get("bbox"), row.get("area", 0), row.get("iscrowd", 0)
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
        return "annotation whose bbox is not four numbers [x, y, width, height]", box
    if not all(-_LIMIT < value < _LIMIT for value in box):
        return "annotation whose bbox is not finite", box
    if not is_number(area) or not 0 <= area < _LIMIT**2:
        return "annotation whose area is not a finite number of at least 0", area
    if crowd not in (0, 1):
        return "annotation whose iscrowd is not 0 or 1", crowd
    return None
