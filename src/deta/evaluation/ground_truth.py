"""The annotation file of an evaluated split, checked and packed for the metric."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deta.data.coco_json import read_coco_file
from deta.data.image_rows import NEGATIVE, NOT_EXHAUSTIVE, Layout, Ragged
from deta.utils.wording import counted

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
        frequencies: LVIS: ``r``, ``c`` or ``f`` of every category; None in COCO's layout.
        negative: LVIS: ids of the categories checked to be absent from each image; None in COCO's layout.
        not_exhaustive: LVIS: ids of the categories of which each image may hold more than is annotated; None in
            COCO's layout.
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
    frequencies: tuple[str, ...] | None = None
    negative: Ragged | None = None
    not_exhaustive: Ragged | None = None

    def restricted_to(self, image_ids: NDArray[np.int64]) -> Self:
        """The ground truth of these images alone; categories stay."""
        images = np.flatnonzero(np.isin(self.image_ids, image_ids))
        return replace(
            self._with_objects(np.isin(self.object_image_ids, image_ids)),
            image_ids=self.image_ids[images],
            negative=None if self.negative is None else self.negative.select(images),
            not_exhaustive=None if self.not_exhaustive is None else self.not_exhaustive.select(images),
        )

    def of_categories(self, category_ids: Sequence[int]) -> Self:
        """The ground truth of these categories alone; images stay."""
        chosen = [index for index, identity in enumerate(self.category_ids) if identity in set(category_ids)]
        return replace(
            self._with_objects(np.isin(self.object_category_ids, category_ids)),
            category_ids=tuple(self.category_ids[index] for index in chosen),
            category_names=tuple(self.category_names[index] for index in chosen),
            frequencies=None if self.frequencies is None else tuple(self.frequencies[index] for index in chosen),
        )

    def num_objects(self, category_id: int) -> int:
        """Objects of one category, crowds left out."""
        return int(np.count_nonzero((self.object_category_ids == category_id) & ~self.is_crowd))

    def counts_mistakes(self, image_ids: NDArray[np.int64], category_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a detection that finds no object counts against its category, for N images and categories.

        In COCO's layout it always does. In that of LVIS only where the category is annotated in the image or known to
        be absent, and not where the image may hold more of it than is annotated.
        """
        if self.negative is None or self.not_exhaustive is None:
            return np.ones(len(image_ids), dtype=np.bool_)
        wanted = self._pairs(image_ids, category_ids)
        annotated = self._pairs(self.object_image_ids, self.object_category_ids)
        absent, open_ended = (
            self._pairs(np.repeat(self.image_ids, np.diff(lists.offsets)), lists.values)
            for lists in (self.negative, self.not_exhaustive)
        )
        counts: NDArray[np.bool_] = np.isin(wanted, np.concatenate((annotated, absent))) & ~np.isin(wanted, open_ended)
        return counts

    def categories(self) -> list[dict[str, Any]]:
        """``id``, ``name`` and, in LVIS, ``frequency`` of every category."""
        rows = [
            {"id": identity, "name": name}
            for identity, name in zip(self.category_ids, self.category_names, strict=True)
        ]
        if self.frequencies is None:
            return rows
        return [{**row, "frequency": group} for row, group in zip(rows, self.frequencies, strict=True)]

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
        return {"images": self._coco_images(), "categories": self.categories(), "annotations": annotations}

    def _coco_images(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{"id": image_id} for image_id in self.image_ids.tolist()]
        for key, lists in ((NEGATIVE, self.negative), (NOT_EXHAUSTIVE, self.not_exhaustive)):
            if lists is not None:
                for index, row in enumerate(rows):
                    row[key] = lists.row(index).tolist()
        return rows

    def _pairs(self, image_ids: NDArray[np.int64], category_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """One number for every image and category, both listed."""
        images = np.searchsorted(self.image_ids, image_ids)
        return images * len(self.category_ids) + np.searchsorted(np.array(self.category_ids), category_ids)

    def _with_objects(self, keep: NDArray[np.bool_]) -> Self:
        return replace(
            self,
            object_image_ids=self.object_image_ids[keep],
            object_category_ids=self.object_category_ids[keep],
            boxes_xywh=self.boxes_xywh[keep],
            areas=self.areas[keep],
            is_crowd=self.is_crowd[keep],
        )


def read_ground_truth(path: Path, *, layout: Layout = "coco") -> GroundTruth:
    """Read an annotation file of COCO or LVIS, with the same checks as for training but every box as it is in the file.

    A missing ``iscrowd`` is 0, a missing ``area`` is width times height; how often is logged.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not in this layout, holds an id twice, refers to an image or category which
            it does not list, or has a box that is not four finite numbers; all faults are named.
    """
    content = read_coco_file(path, layout=layout)
    images, objects, categories = content.images, content.annotations, content.categories
    if objects is None:
        raise ValueError(f"{path} must have a list 'annotations': images without labels cannot be evaluated")
    for count, what in (
        (objects.num_missing_iscrowd if layout == "coco" else 0, "iscrowd, 0"),
        (objects.num_missing_area, "area, width times height"),
    ):
        if count:
            logger.info("%s: %s no %s is taken", path, counted(count, "annotation has", "annotations have"), what)
    image_ids = np.array(images.ids, dtype=np.int64)
    order = np.argsort(image_ids)
    category_ids = np.array(categories.ids, dtype=np.int64)
    return GroundTruth(
        path=path,
        image_ids=image_ids[order],
        category_ids=categories.ids,
        category_names=categories.names,
        object_image_ids=image_ids[objects.images],
        object_category_ids=category_ids[objects.labels],
        boxes_xywh=objects.boxes,
        areas=objects.areas,
        is_crowd=objects.is_crowd,
        frequencies=content.frequencies,
        negative=_category_lists(images.negative, order, category_ids),
        not_exhaustive=_category_lists(images.not_exhaustive, order, category_ids),
    )


def _category_lists(labels: Ragged | None, order: NDArray[np.int64], category_ids: NDArray[np.int64]) -> Ragged | None:
    """Lists of class indexes in file order as lists of category ids in the order of image ids."""
    if labels is None:
        return None
    in_order = labels.select(order)
    return replace(in_order, values=category_ids[in_order.values])
