"""The images of an annotation file: checked row by row, in the layouts of COCO and LVIS."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args

import numpy as np
from msgspec import Meta, Raw, Struct
from numpy.typing import NDArray

from deta.data.problems import Problems
from deta.data.rows import Id, RowReader

Layout = Literal["coco", "lvis"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
LVIS_KEYS = (NEGATIVE, NOT_EXHAUSTIVE)
MAX_SIDE = 10**6
"""Longest side of an image that is believed, in pixels."""
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
_RULES = {
    "id": "id is not an integer",
    "height": f"height is not an integer from 1 to {MAX_SIDE:,}",
    "width": f"width is not an integer from 1 to {MAX_SIDE:,}",
    "file_name": "file_name is not a text with at least one character that is not blank",
    "coco_url": "coco_url does not end in folder and file name",
    NEGATIVE: f"{NEGATIVE} is not a list of integers",
    NOT_EXHAUSTIVE: f"{NOT_EXHAUSTIVE} is not a list of integers",
}


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of class indexes of different lengths, one per image, in two flat arrays.

    Attributes:
        values: int64, the lists one after the other.
        offsets: ``[N + 1]`` int64 where each list starts.
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def row(self, index: int) -> NDArray[np.int64]:
        """One of the lists."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def select(self, indices: NDArray[np.int64]) -> "Ragged":
        """The lists of these positions, in this order."""
        lengths = np.diff(self.offsets)[indices]
        values = np.concatenate([np.empty(0, np.int64), *(self.row(int(index)) for index in indices)])
        return Ragged(values, offsets_of(lengths))


@dataclass(frozen=True)
class ImageColumns:
    """The images of a file, in file order.

    Attributes:
        ids: Image ids.
        sizes: ``(height, width)`` in pixels.
        file_names: Paths relative to the image folder.
        negative: LVIS: class indexes checked to be absent from each image; None in COCO's layout.
        not_exhaustive: LVIS: class indexes of which each image may hold more than is annotated; None in COCO's.
    """

    ids: list[int]
    sizes: list[tuple[int, int]]
    file_names: list[str]
    negative: Ragged | None
    not_exhaustive: Ragged | None


class _Image(Struct, gc=False):
    id: Id
    height: Side
    width: Side
    file_name: Annotated[str, Meta(pattern=r"\S")]


class _LvisImage(Struct, gc=False):
    id: Id
    height: Side
    width: Side
    coco_url: str
    neg_category_ids: list[Id]
    not_exhaustive_category_ids: list[Id]


class _Layout(Struct, gc=False):
    neg_category_ids: Raw = Raw(b"")
    not_exhaustive_category_ids: Raw = Raw(b"")


def is_lvis(rows: Sequence[Raw]) -> bool:
    """Whether images have a key that the layout of LVIS alone has."""
    probe = RowReader(_Layout, what="image", rules={}, problems=Problems(""))
    return any(
        len(memoryview(row.neg_category_ids)) or len(memoryview(row.not_exhaustive_category_ids))
        for row in probe.read(rows)
    )


def read_images(
    rows: Sequence[Raw], layout: Layout, *, category_ids: Sequence[int], problems: Problems
) -> ImageColumns:
    """Check and collect images.

    Args:
        rows: As they stand in the file.
        layout: ``coco`` has ``file_name``; ``lvis`` has ``coco_url``, whose last two parts are the path, as both
            folders of COCO serve both of its splits, and two lists of category ids.
        category_ids: Id of every class, ascending; what the lists may name.
        problems: Collects the faults; if there are any, only ``ids`` is of use, which ends with those of faulty rows.
    """
    reader: RowReader[Any] = RowReader(
        _LvisImage if layout == "lvis" else _Image, what="image", rules=_RULES, problems=problems
    )
    ids, sizes, names = [], [], []
    lists = {key: (array("q"), array("q")) for key in LVIS_KEYS}  # category ids, lengths
    for row in reader.read(rows):
        ids.append(row.id)
        sizes.append((row.height, row.width))
        names.append(name_in_url(row.coco_url) if layout == "lvis" else row.file_name)
        if layout == "lvis":
            for key, (values, lengths) in lists.items():
                values.extend(getattr(row, key))
                lengths.append(len(getattr(row, key)))
    all_ids = [*ids, *(values["id"] for values in reader.suspects if "id" in values)]
    _find_repeats(all_ids, problems)
    _find_bad_names(zip(ids, names, strict=True), layout, problems)
    _find_bad_names(((values.get("id"), _name_of(values)) for values in reader.suspects), layout, problems)
    columns = [
        _labels(key, *lists[key], ids, category_ids, problems) if layout == "lvis" else None for key in LVIS_KEYS
    ]
    return ImageColumns(all_ids, sizes, names, *columns)


def name_in_url(url: str) -> str:
    """The last two parts of an address, folder and name of the image; empty if it does not end in them.

    What is a path out of the folder instead comes back whole, for ``name_fault`` to refuse.
    """
    if name_fault(url) is not None:
        return url
    parts = url.split("/")[-2:]
    return "/".join(parts) if len(parts) == 2 and all(parts) else ""


def name_fault(name: str) -> str | None:
    """Why a path must not be followed from the image folder; None if it may."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return (
            "leaves the image folder: it must be a relative path without '..', from the folder that all images lie in"
        )
    return "holds the character 0, which no file name can" if "\0" in name else None


def _name_of(values: Mapping[str, Any]) -> str | None:
    """The name in those values of a row that are as they must be."""
    return name_in_url(values["coco_url"]) if "coco_url" in values else values.get("file_name")


def _find_repeats(ids: Sequence[int], problems: Problems) -> None:
    for image_id, count in Counter(ids).items():
        for _ in range(count - 1):
            problems.add("image id listed more than once", str(image_id))


def _find_bad_names(names: Iterable[tuple[int | None, str | None]], layout: Layout, problems: Problems) -> None:
    key = "coco_url" if layout == "lvis" else "file_name"
    for image_id, name in names:
        if name == "":
            problems.add("image whose coco_url does not end in folder and file name", f"image {image_id}")
        elif name is not None and (fault := name_fault(name)) is not None:
            problems.add(f"image whose {key} {fault}", f"image {image_id}: {name!r}")


def _labels(
    key: str,
    values: "array[int]",
    lengths: "array[int]",
    ids: Sequence[int],
    category_ids: Sequence[int],
    problems: Problems,
) -> Ragged:
    """Lists of category ids as lists of class indexes."""
    listed, known = np.array(values, dtype=np.int64), np.array(category_ids, dtype=np.int64)
    labels = np.searchsorted(known, listed).clip(max=len(known) - 1)
    owners = np.repeat(np.arange(len(lengths)), np.array(lengths, dtype=np.int64))
    for place in np.flatnonzero(known[labels] != listed):
        example = f"image {ids[owners[place]]}: {listed[place]}"
        problems.add(f"{key} that is not among the categories", example)
    return Ragged(labels, offsets_of(np.array(lengths, dtype=np.int64)))


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of several pieces starts, and where the last one ends."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)))
