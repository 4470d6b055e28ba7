"""Reading and checking an annotation file in the layout of COCO or LVIS, before it is packed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deta.data.annotation_rows import AnnotationColumns, AnnotationReader
from deta.data.categories import Categories
from deta.data.image_rows import LVIS_KEYS, ImageColumns, ImageReader, Layout
from deta.data.json_stream import stream_object
from deta.data.problems import Problems
from deta.data.values import is_id

FREQUENCIES = ("r", "c", "f")
"""LVIS's groups of categories by the number of training images: rare, common, frequent."""


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What an annotation file holds.

    Attributes:
        categories: Ordered by id.
        frequencies: LVIS: one of ``FREQUENCIES`` for every category; None in COCO's layout.
        images: In file order.
        annotations: In file order; None if the file has no ``annotations``.
    """

    categories: Categories
    frequencies: tuple[str, ...] | None
    images: ImageColumns
    annotations: AnnotationColumns | None


def read_coco_file(path: Path, *, layout: Layout = "coco") -> CocoFile:
    """Read and check an annotation file; masks are parsed and dropped.

    Args:
        path: JSON.
        layout: ``coco`` or ``lvis``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON (with line and column), not an object, without ``images`` or ``categories``,
            in the other layout, or has faulty rows; all kinds of faults are listed with counts.
    """
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {path} does not exist; check data.root and the file names below it")
    problems = Problems(str(path))
    images, annotations = ImageReader(layout, problems), AnnotationReader(problems)
    document = _parse(path, images, annotations)
    _require_layout(path, layout, images)
    categories = _read_categories(document["categories"], path)
    frequencies = _read_frequencies(document["categories"], path) if layout == "lvis" else None
    image_columns = images.finish(categories)
    left = document.get("annotations", [])
    if not isinstance(left, list):
        problems.add("'annotations' that is not a list", _kind(left))
    columns = annotations.finish(image_columns.ids, categories) if "annotations" in document else None
    problems.raise_if_any()
    return CocoFile(categories, frequencies, image_columns, columns)


def _parse(path: Path, images: ImageReader, annotations: AnnotationReader) -> dict[str, Any]:
    """The file without its images and annotations, which the readers get."""
    try:
        document = stream_object(path, {"images": images.add, "annotations": annotations.add})
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: not text, {error.reason}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(
            f"{path} must hold a JSON object with images, annotations, categories, not a {_kind(document)}"
        )
    for key, has_rows in (("images", images.num_rows > 0), ("categories", bool(document.get("categories")))):
        if not isinstance(document.get(key), list) or not has_rows:
            raise ValueError(f"{path} must have a non-empty list {key!r}; keys found: {', '.join(document) or 'none'}")
    return document


def _require_layout(path: Path, layout: Layout, images: ImageReader) -> None:
    if layout == "coco" and images.num_lvis_rows:
        raise ValueError(
            f"{path} has the layout of LVIS (images with {LVIS_KEYS[0]}); use data=lvis instead of data=coco, "
            "and evaluator=lvis"
        )
    if layout == "lvis" and not images.num_lvis_rows:
        raise ValueError(
            f"{path} has the layout of COCO (no image with {LVIS_KEYS[0]}); use data=coco instead of data=lvis, "
            "and evaluator=coco"
        )


def _read_categories(rows: Sequence[Any], path: Path) -> Categories:
    problems = Problems(str(path))
    names: dict[int, str] = {}
    for position, row in enumerate(rows):
        category_id = row.get("id") if isinstance(row, dict) else None
        if not is_id(category_id):
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


def _read_frequencies(rows: Sequence[Mapping[str, Any]], path: Path) -> tuple[str, ...]:
    problems = Problems(str(path))
    for row in rows:
        if row.get("frequency") not in FREQUENCIES:
            problems.add("category whose frequency is not r, c or f", f"category {row['id']}: {row.get('frequency')!r}")
    problems.raise_if_any()
    return tuple(row["frequency"] for row in sorted(rows, key=lambda row: int(row["id"])))


def _kind(value: object) -> str:
    return {list: "list", dict: "object", str: "string", type(None): "null"}.get(type(value), type(value).__name__)
