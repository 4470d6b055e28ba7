"""The annotations of a file: checked row by row and packed at once, as a file may hold a million of them."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from numpy.typing import NDArray

from deta.data.problems import Problems
from deta.data.rows import Id, Number, RowReader

_RULES = {
    "id": "id is not an integer",
    "image_id": "image_id is not an integer",
    "category_id": "category_id is not an integer",
    "bbox": "bbox is not four numbers [x, y, width, height] between -1e9 and 1e9",
    "area": "area is not a number of at least 0 and below 1e18",
    "iscrowd": "iscrowd is not the integer 0 or 1",
}


MAX_PER_IMAGE = 100_000
"""Annotations of one image; the densest public data sets have some 25,000."""


class _Annotation(Struct, gc=False):
    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[Number, Number, Number, Number]
    area: Annotated[float, Meta(ge=0, lt=1e18)] | UnsetType = UNSET
    iscrowd: Literal[0, 1] | UnsetType = UNSET


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


def read_annotations(
    rows: Sequence[Raw], *, image_ids: Sequence[int], category_ids: Sequence[int], problems: Problems
) -> AnnotationColumns:
    """Check and pack annotations.

    Args:
        rows: As they stand in the file.
        image_ids: Id of every row of the images.
        category_ids: Id of every class.
        problems: Collects the faults, among them ids that occur twice or that are not among those above; what is
            returned is of use only if there is none.
    """
    reader = RowReader(_Annotation, what="annotation", rules=_RULES, problems=problems, max_bytes=None)
    ids, owners, categories = array("q"), array("q"), array("q")
    boxes, areas, is_crowd = array("d"), array("d"), array("b")
    num_missing_area = num_missing_iscrowd = 0
    for row in reader.read(rows):
        ids.append(row.id)
        owners.append(row.image_id)
        categories.append(row.category_id)
        boxes.extend(row.bbox)
        if row.area is UNSET:
            num_missing_area += 1
            areas.append(row.bbox[2] * row.bbox[3])
        else:
            areas.append(row.area)
        num_missing_iscrowd += row.iscrowd is UNSET
        is_crowd.append(row.iscrowd is not UNSET and row.iscrowd)
    columns = np.frombuffer(ids, dtype=np.int64), np.frombuffer(owners, dtype=np.int64)
    labels = np.frombuffer(categories, dtype=np.int64)
    _find_repeats(columns[0], reader.suspects, problems)
    images = _look_up("image", columns[1], columns[0], image_ids, reader.suspects, problems)
    counts = np.bincount(images, minlength=len(image_ids))
    for place in np.flatnonzero(counts > MAX_PER_IMAGE).tolist():
        problems.add(
            f"image with more than {MAX_PER_IMAGE:,} annotations, cut it into tiles",
            f"image {image_ids[place]}: {counts[place]}",
        )
    return AnnotationColumns(
        ids=columns[0],
        images=images,
        labels=_look_up("category", labels, columns[0], category_ids, reader.suspects, problems),
        boxes=np.frombuffer(boxes, dtype=np.float64).reshape(-1, 4),
        areas=np.frombuffer(areas, dtype=np.float64),
        is_crowd=np.frombuffer(is_crowd, dtype=np.bool_),
        num_missing_area=num_missing_area,
        num_missing_iscrowd=num_missing_iscrowd,
    )


def no_annotations() -> AnnotationColumns:
    """Those of a file that has none."""
    return read_annotations((), image_ids=(), category_ids=(), problems=Problems(""))


def _find_repeats(ids: NDArray[np.int64], suspects: Iterable[Mapping[str, Any]], problems: Problems) -> None:
    others = np.array([values["id"] for values in suspects if "id" in values], dtype=np.int64)
    in_order = np.sort(np.concatenate((ids, others)))
    for repeated in in_order[1:][in_order[1:] == in_order[:-1]].tolist():
        problems.add("annotation id listed more than once", str(repeated))


def _look_up(
    what: str,
    values: NDArray[np.int64],
    ids: NDArray[np.int64],
    known: Sequence[int],
    suspects: Iterable[Mapping[str, Any]],
    problems: Problems,
) -> NDArray[np.int64]:
    """Position of every value in ``known``; those that are not there are faults of their annotations."""
    fault = f"annotation whose {what}_id is not among the {'images' if what == 'image' else 'categories'}"
    listed = np.array(known, dtype=np.int64)
    order = np.argsort(listed)
    places = np.searchsorted(listed, values, sorter=order).clip(max=max(0, len(listed) - 1))
    positions = order[places] if len(listed) else np.zeros_like(values)
    is_known = listed[positions] == values if len(listed) else np.zeros(len(values), dtype=np.bool_)
    for place in np.flatnonzero(~is_known):
        problems.add(fault, f"annotation {ids[place]}: {values[place]}")
    known_ids = set(known)
    for row in suspects:
        if f"{what}_id" in row and row[f"{what}_id"] not in known_ids:
            problems.add(fault, f"annotation {row.get('id', 'without id')}: {row[f'{what}_id']}")
    return positions
