"""The images of an annotation file: checked row by row, in the layouts of COCO and LVIS."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deta.data.categories import Categories
from deta.data.problems import Problems
from deta.data.values import is_id

Layout = Literal["coco", "lvis"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
LVIS_KEYS = (NEGATIVE, NOT_EXHAUSTIVE)


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


class ImageReader:
    """Takes the rows of ``images`` one by one.

    Args:
        layout: ``coco`` has ``file_name``; ``lvis`` has ``coco_url``, whose last two parts are the path, as both
            folders of COCO serve both of its splits, and two lists of category ids.
        problems: Collects the faults; faulty rows are left out.
    """

    def __init__(self, layout: Layout, problems: Problems) -> None:
        self._is_lvis = layout == "lvis"
        self._problems = problems
        self._ids: list[int] = []
        self._sizes: list[tuple[int, int]] = []
        self._file_names: list[str] = []
        self._seen: set[int] = set()
        self._lists = {key: (array("q"), array("q")) for key in LVIS_KEYS}  # category ids, lengths
        self.num_rows = 0
        self.num_lvis_rows = 0

    def add(self, row: object) -> None:
        """Check one row and keep what is needed of it."""
        position = self.num_rows
        self.num_rows += 1
        values: Mapping[str, Any] = row if isinstance(row, dict) else {}
        self.num_lvis_rows += any(key in values for key in LVIS_KEYS)
        image_id = values.get("id")
        if not is_id(image_id):
            self._problems.add("image whose id is not an integer", f"position {position}: {image_id!r}")
            return
        fault = self._fault(values)
        if image_id in self._seen:
            self._problems.add("image id listed more than once", str(image_id))
        elif fault is not None:
            self._problems.add(fault[0], f"image {image_id}{fault[1]}")
        else:
            self._keep(image_id, values)
        self._seen.add(image_id)

    def finish(self, categories: Categories) -> ImageColumns:
        """All rows; category ids that are not among ``categories`` are added to the problems."""
        negative, not_exhaustive = (self._labels(key, categories) if self._is_lvis else None for key in LVIS_KEYS)
        return ImageColumns(self._ids, self._sizes, self._file_names, negative, not_exhaustive)

    def _fault(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        size = (row.get("height"), row.get("width"))
        if not all(is_id(side) and side > 0 for side in size):
            return "image whose height and width are not positive integers", f": {size}"
        if not self._is_lvis:
            name = row.get("file_name")
            return None if isinstance(name, str) and name else ("image without file_name", "")
        if _name_in_url(row.get("coco_url")) is None:
            return "image whose coco_url does not end in folder and file name", f": {row.get('coco_url')!r}"
        for key in LVIS_KEYS:
            if not isinstance(row.get(key), list) or not all(is_id(value) for value in row[key]):
                return f"image whose {key} is not a list of integers", f": {row.get(key)!r}"
        return None

    def _keep(self, image_id: int, row: Mapping[str, Any]) -> None:
        self._ids.append(image_id)
        self._sizes.append((row["height"], row["width"]))
        name = _name_in_url(row["coco_url"]) if self._is_lvis else row["file_name"]
        assert name is not None
        self._file_names.append(name)
        if self._is_lvis:
            for key, (values, lengths) in self._lists.items():
                values.extend(row[key])
                lengths.append(len(row[key]))

    def _labels(self, key: str, categories: Categories) -> Ragged:
        values, lengths = (np.array(column, dtype=np.int64) for column in self._lists[key])
        known = np.array(categories.ids, dtype=np.int64)
        labels = np.searchsorted(known, values).clip(max=len(known) - 1)
        owners = np.repeat(np.arange(len(lengths)), lengths)
        for place in np.flatnonzero(known[labels] != values):
            example = f"image {self._ids[owners[place]]}: {values[place]}"
            self._problems.add(f"{key} that is not among the categories", example)
        return Ragged(labels, offsets_of(lengths))


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of several pieces starts, and where the last one ends."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)))


def _name_in_url(url: object) -> str | None:
    parts = PurePosixPath(url).parts[-2:] if isinstance(url, str) else ()
    return "/".join(parts) if len(parts) == 2 and url == str(url).rstrip("/") else None
