"""Reading and checking the lists of a COCO annotation file, before they are packed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from deta.data.categories import Categories
from deta.data.problems import Problems

_LIMIT = 1e9
"""Largest believable coordinate, in pixels; the comparison also catches NaN and infinity."""
_LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass
class ImageColumns:
    """The images of a file, in file order.

    Attributes:
        ids: Image ids.
        sizes: ``(height, width)`` in pixels.
        file_names: Paths relative to the image folder.
    """

    ids: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    file_names: list[str] = field(default_factory=list)


@dataclass
class AnnotationColumns:
    """The annotations of a file, in file order.

    Attributes:
        ids: Annotation ids.
        images: Row of the image in ``ImageColumns``.
        labels: Contiguous class index.
        boxes: ``x, y, width, height`` in pixels, exactly as in the file.
        areas: Pixels squared; ``width * height`` where the file gives none.
        is_crowd: Whether the box covers a group without single annotations.
        num_missing_area: Annotations without ``area``.
        num_missing_iscrowd: Annotations without ``iscrowd``, taken as 0.
    """

    ids: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    is_crowd: list[bool] = field(default_factory=list)
    num_missing_area: int = 0
    num_missing_iscrowd: int = 0


def load_document(path: Path) -> dict[str, Any]:
    """Parse an annotation file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON (with line and column), not an object, without ``images`` or
            ``categories``, or in LVIS layout.
    """
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {path} does not exist; check data.root and the file names below it")
    try:
        document = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: not text, byte {error.start} cannot be decoded") from error
    if not isinstance(document, dict):
        raise ValueError(
            f"{path} must hold a JSON object with images, annotations, categories, not a {_kind(document)}"
        )
    for key in ("images", "categories"):
        if not isinstance(document.get(key), list) or not document[key]:
            raise ValueError(f"{path} must have a non-empty list {key!r}; keys found: {', '.join(document) or 'none'}")
    images = document["images"]
    if any(isinstance(image, dict) and any(key in image for key in _LVIS_KEYS) for image in images):
        raise ValueError(
            f"{path} has the layout of LVIS (images with {_LVIS_KEYS[0]}); use data=lvis instead of data=coco"
        )
    return document


def read_categories(document: Mapping[str, Any], path: Path) -> Categories:
    """The categories of a parsed file, ordered by id.

    Raises:
        ValueError: If an id is not an integer or listed twice, or a name is not a string.
    """
    problems = Problems(str(path))
    names: dict[int, str] = {}
    for position, row in enumerate(document["categories"]):
        category_id = row.get("id") if isinstance(row, dict) else None
        if not _is_id(category_id):
            problems.add("category whose id is not an integer", f"position {position}: {category_id!r}")
        elif not isinstance(row.get("name"), str):
            problems.add("category whose name is not a string", f"category {category_id}: {row.get('name')!r}")
        elif category_id in names:
            problems.add("category id listed more than once", str(category_id))
        else:
            names[category_id] = row["name"]
    problems.raise_if_any()
    ids = sorted(names)
    return Categories(ids=tuple(ids), names=tuple(names[category_id] for category_id in ids))


def read_images(document: Mapping[str, Any], problems: Problems) -> ImageColumns:
    """The images of a parsed file; faulty rows are added to ``problems`` and left out."""
    columns = ImageColumns()
    seen: set[int] = set()
    for position, row in enumerate(document["images"]):
        image_id = row.get("id") if isinstance(row, dict) else None
        if not _is_id(image_id):
            problems.add("image whose id is not an integer", f"position {position}: {image_id!r}")
            continue
        size = (row.get("height"), row.get("width"))
        name = row.get("file_name")
        if image_id in seen:
            problems.add("image id listed more than once", str(image_id))
        elif not all(_is_id(side) and side > 0 for side in size):
            problems.add("image whose height and width are not positive integers", f"image {image_id}: {size}")
        elif not isinstance(name, str) or not name:
            problems.add("image without file_name", f"image {image_id}")
        else:
            columns.ids.append(image_id)
            columns.sizes.append(size)
            columns.file_names.append(name)
        seen.add(image_id)
    return columns


def read_annotations(
    document: Mapping[str, Any], image_rows: Mapping[int, int], categories: Categories, problems: Problems
) -> AnnotationColumns:
    """The annotations of a parsed file; faulty rows are added to ``problems`` and left out.

    Args:
        document: The parsed file; ``annotations`` may be absent and counts as empty then.
        image_rows: Row of every image id.
        categories: What category ids mean.
        problems: Collects the faults.
    """
    columns = AnnotationColumns()
    rows = document.get("annotations", [])
    if not isinstance(rows, list):
        problems.add("'annotations' that is not a list", _kind(rows))
        return columns
    seen: set[int] = set()
    for position, row in enumerate(rows):
        annotation_id = row.get("id") if isinstance(row, dict) else None
        if not _is_id(annotation_id):
            problems.add("annotation whose id is not an integer", f"position {position}: {annotation_id!r}")
            continue
        fault = _reference_fault(row, image_rows, categories) or _value_fault(row)
        if annotation_id in seen:
            problems.add("annotation id listed more than once", str(annotation_id))
        elif fault is not None:
            problems.add(fault[0], f"annotation {annotation_id}: {fault[1]!r}")
        else:
            _append(columns, row, image_rows, categories)
        seen.add(annotation_id)
    return columns


def _reference_fault(
    row: Mapping[str, Any], image_rows: Mapping[int, int], categories: Categories
) -> tuple[str, Any] | None:
    image_id, category_id = row.get("image_id"), row.get("category_id")
    if not _is_id(image_id):
        return "annotation whose image_id is not an integer", image_id
    if image_id not in image_rows:
        return "annotation whose image_id is not among the images", image_id
    if not _is_id(category_id):
        return "annotation whose category_id is not an integer", category_id
    if category_id not in categories.class_index:
        return "annotation whose category_id is not among the categories", category_id
    return None


def _value_fault(row: Mapping[str, Any]) -> tuple[str, Any] | None:
    box, area, crowd = row.get("bbox"), row.get("area", 0), row.get("iscrowd", 0)
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return "annotation whose bbox is not four numbers [x, y, width, height]", box
    if not all(-_LIMIT < value < _LIMIT for value in box):
        return "annotation whose bbox is not finite", box
    if not _is_number(area) or not 0 <= area < _LIMIT**2:
        return "annotation whose area is not a finite number of at least 0", area
    if crowd not in (0, 1):
        return "annotation whose iscrowd is not 0 or 1", crowd
    return None


def _append(
    columns: AnnotationColumns, row: Mapping[str, Any], image_rows: Mapping[int, int], categories: Categories
) -> None:
    box = row["bbox"]
    columns.ids.append(row["id"])
    columns.images.append(image_rows[row["image_id"]])
    columns.labels.append(categories.class_index[row["category_id"]])
    columns.boxes.append(box)
    columns.areas.append(row.get("area", box[2] * box[3]))
    columns.is_crowd.append(bool(row.get("iscrowd", 0)))
    columns.num_missing_area += "area" not in row
    columns.num_missing_iscrowd += "iscrowd" not in row


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return type(value) is int or type(value) is float


def _kind(value: object) -> str:
    return {list: "list", str: "string", type(None): "null"}.get(type(value), type(value).__name__)
