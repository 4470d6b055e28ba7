"""The annotation file of an evaluated split, checked and packed for the metric."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deta.data.coco_json import read_coco_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroundTruth:
    """Images, categories and objects as annotated.

    Degenerate boxes are kept, so that numbers stay comparable.

    Attributes:
        path: The file, for messages.
        image_ids: ``[I]`` int64, ascending.
        category_ids: Ascending; the order of the metric's category axis.
        category_names: One per category id.
        object_image_ids: ``[N]`` int64.
        object_category_ids: ``[N]`` int64.
        boxes_xywh: ``[N, 4]`` float64 in pixels.
        areas: ``[N]`` float64 annotated area in pixels squared, of the mask where the data set has one.
        is_crowd: ``[N]`` bool; crowds are areas to ignore, not objects to find.
    """

    path: Path
    image_ids: NDArray[np.int64]
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    object_image_ids: NDArray[np.int64]
    object_category_ids: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]

    def restricted_to(self, image_ids: NDArray[np.int64]) -> Self:
        """The ground truth of these images alone; categories stay."""
        keep = np.isin(self.object_image_ids, image_ids)
        return replace(
            self,
            image_ids=self.image_ids[np.isin(self.image_ids, image_ids)],
            object_image_ids=self.object_image_ids[keep],
            object_category_ids=self.object_category_ids[keep],
            boxes_xywh=self.boxes_xywh[keep],
            areas=self.areas[keep],
            is_crowd=self.is_crowd[keep],
        )

    def num_objects(self, category_id: int) -> int:
        """Objects of one category, crowds left out."""
        return int(np.count_nonzero((self.object_category_ids == category_id) & ~self.is_crowd))

    def to_coco(self) -> dict[str, list[dict[str, Any]]]:
        """The content in COCO's layout, ids from 1: COCO's code takes the id 0 for "no match"."""
        rows = zip(
            self.object_image_ids.tolist(),
            self.object_category_ids.tolist(),
            self.boxes_xywh.tolist(),
            self.areas.tolist(),
            self.is_crowd.tolist(),
            strict=True,
        )
        annotations = [
            {
                "id": number,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": box,
                "area": area,
                "iscrowd": int(is_crowd),
            }
            for number, (image_id, category_id, box, area, is_crowd) in enumerate(rows, start=1)
        ]
        return {
            "images": [{"id": image_id} for image_id in self.image_ids.tolist()],
            "categories": [
                {"id": identity, "name": name}
                for identity, name in zip(self.category_ids, self.category_names, strict=True)
            ],
            "annotations": annotations,
        }


def read_ground_truth(path: Path) -> GroundTruth:
    """Read a COCO annotation file, with the same checks as for training but every box as it is in the file.

    A missing ``iscrowd`` is 0, a missing ``area`` is width times height; how often is logged.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not COCO's layout, holds an id twice, refers to an image or category which
            it does not list, or has a box that is not four finite numbers; all faults are named.
    """
    content = read_coco_file(path)
    images, objects, categories = content.images, content.annotations, content.categories
    if objects is None:
        raise ValueError(f"{path} must have a list 'annotations': images without labels cannot be evaluated")
    for count, what in (
        (objects.num_missing_iscrowd, "iscrowd, 0"),
        (objects.num_missing_area, "area, width times height"),
    ):
        if count:
            logger.info("%s: %d annotations have no %s is taken", path, count, what)
    image_ids = np.array(images.ids, dtype=np.int64)
    return GroundTruth(
        path=path,
        image_ids=np.sort(image_ids),
        category_ids=categories.ids,
        category_names=categories.names,
        object_image_ids=image_ids[objects.images],
        object_category_ids=np.array(categories.ids, dtype=np.int64)[objects.labels],
        boxes_xywh=objects.boxes,
        areas=objects.areas,
        is_crowd=objects.is_crowd,
    )
