"""Reading and checking an annotation file in the layout of COCO or LVIS, before it is packed."""

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, Literal

from msgspec import Raw, Struct

from deta.data.annotation_rows import AnnotationColumns, read_annotations
from deta.data.categories import Categories
from deta.data.formats.recognise import import_hint
from deta.data.image_rows import LVIS_KEYS, ImageColumns, Layout, is_lvis, read_images
from deta.data.json_file import elements, kind_of, read_members, require_lists
from deta.data.problems import Problems
from deta.data.rows import Id, RowReader

FREQUENCIES = ("r", "c", "f")
"""LVIS's groups of categories by the number of training images: rare, common, frequent."""
_MOST_LETTERS = 1000
"""Of the name of a category, which stands in tables and messages."""

_RULES = {
    "id": "id is not an integer",
    "name": "name is not a text",
    "frequency": f"frequency is not one of {', '.join(FREQUENCIES)}",
}


class _Category(Struct, gc=False):
    id: Id
    name: str


class _LvisCategory(_Category, gc=False):
    frequency: Literal["r", "c", "f"]


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


def require_annotation_file(path: Path) -> None:
    """Refuse to read what is not there.

    Raises:
        FileNotFoundError: There is no such file; the message says in which folder beside it one of this name lies, or
            how to import a data set of another format there.
    """
    if not path.is_file():
        found = next((file for file in sorted(path.parent.glob(f"*/{escape(path.name)}")) if file.is_file()), None)
        if found is not None:
            raise FileNotFoundError(f"annotation file {path} does not exist; did you mean {found}?")
        raise FileNotFoundError(
            f"annotation file {path} does not exist; check data.root and the file names below it{import_hint(path)}"
        )


def read_coco_file(path: Path, *, layout: Layout = "coco") -> CocoFile:
    """Read and check an annotation file; masks are passed over.

    Args:
        path: JSON.
        layout: ``coco`` or ``lvis``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON (with line and column), not an object, without ``images`` or ``categories``, has
            one of its keys twice, is in the other layout, or has faulty rows; all kinds of faults are listed with
            counts.
    """
    require_annotation_file(path)
    members = read_members(path)
    image_rows, category_rows = require_lists(path, members, ("images", "categories"))
    _require_layout(path, layout, is_lvis=is_lvis(image_rows))
    problems = Problems(str(path))
    categories, frequencies = _read_categories(category_rows, layout, problems)
    images = read_images(image_rows, layout, category_ids=categories.ids, problems=problems)
    annotation_rows = elements(members["annotations"]) if "annotations" in members else []
    if annotation_rows is None:
        problems.add("'annotations' that is not a list", kind_of(members["annotations"]))
    annotations = read_annotations(
        annotation_rows or (), image_ids=images.ids, category_ids=categories.ids, problems=problems
    )
    problems.raise_if_any()
    return CocoFile(categories, frequencies, images, annotations if "annotations" in members else None)


def _require_layout(path: Path, layout: Layout, *, is_lvis: bool) -> None:
    if layout == "coco" and is_lvis:
        raise ValueError(
            f"{path} has the layout of LVIS (images with {LVIS_KEYS[0]}); use data=lvis instead of data=coco, "
            "and evaluator=lvis"
        )
    if layout == "lvis" and not is_lvis:
        raise ValueError(
            f"{path} has the layout of COCO (no image with {LVIS_KEYS[0]}); use data=coco instead of data=lvis, "
            "and evaluator=coco"
        )


def _read_categories(
    rows: Sequence[Raw], layout: Layout, problems: Problems
) -> tuple[Categories, tuple[str, ...] | None]:
    """Categories by id and, for LVIS, their frequencies; of use only if there is no problem."""
    reader: RowReader[Any] = RowReader(
        _LvisCategory if layout == "lvis" else _Category, what="category", rules=_RULES, problems=problems
    )
    found: dict[int, Any] = {}
    for row in reader.read(rows):
        if row.id in found:
            problems.add("category id listed more than once", str(row.id))
        if not any(character.isprintable() and not character.isspace() for character in row.name):
            problems.add("category whose name is blank", f"category {row.id}: {row.name!r}")
        if len(row.name) > _MOST_LETTERS:
            fault = f"category whose name has more than {_MOST_LETTERS:,} letters"
            problems.add(fault, f"category {row.id}: {len(row.name):,}")
        found[row.id] = row
    problems.raise_if_any()
    in_order = [found[category_id] for category_id in sorted(found)]
    categories = Categories(ids=tuple(row.id for row in in_order), names=tuple(row.name for row in in_order))
    return categories, tuple(row.frequency for row in in_order) if layout == "lvis" else None
