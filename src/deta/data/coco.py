"""Annotations of COCO and LVIS packed into arrays, small enough to share with every worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deta.data.annotation_rows import no_annotations
from deta.data.categories import Categories
from deta.data.coco_json import CocoFile, read_coco_file
from deta.data.doubts import box_doubts
from deta.data.image_rows import Layout, Ragged, offsets_of
from deta.data.problems import MAX_EXAMPLES
from deta.utils.wording import counted

_ROUNDING = 0.011
"""COCO rounds boxes to 0.01 px, so a box may leave its image by that much without being wrong."""


@dataclass(frozen=True)
class AnnotationReport:
    """What reading an annotation file found, repaired and left out.

    Attributes:
        num_images: Images listed.
        num_annotations: Annotations listed, crowds included.
        num_crowds: Annotations with ``iscrowd`` 1 that were kept.
        num_images_without_objects: Images which no object is left in (crowds do not count).
        num_missing_area: Annotations without ``area``; width times height stands in.
        num_missing_iscrowd: Annotations without ``iscrowd``, taken as 0; LVIS has none, which counts as nothing.
        num_clipped: Boxes cut at the image border.
        num_dropped_empty: Boxes left out because they have no area.
        num_dropped_outside: Boxes left out because they lie outside their image.
        dropped_ids: Annotation ids of the first boxes left out.
        doubts: What is read as it is but was probably meant otherwise, one line for each kind.
    """

    num_images: int
    num_annotations: int
    num_crowds: int
    num_images_without_objects: int
    num_missing_area: int
    num_missing_iscrowd: int
    num_clipped: int
    num_dropped_empty: int
    num_dropped_outside: int
    dropped_ids: tuple[int, ...]
    doubts: tuple[str, ...] = ()

    @property
    def num_dropped(self) -> int:
        """Boxes left out."""
        return self.num_dropped_empty + self.num_dropped_outside

    def summary(self) -> str:
        """One line: the sizes, then every repair that was made."""
        parts = [
            f"{counted(self.num_images, 'image')} ({self.num_images_without_objects} without objects)",
            f"{counted(self.num_annotations, 'annotation')} ({counted(self.num_crowds, 'crowd')})",
        ]
        dropped = f" (annotations {', '.join(map(str, self.dropped_ids))}{self._more()})"
        repairs = (
            (self.num_missing_area, "without an area: width times height taken"),
            (self.num_missing_iscrowd, "without iscrowd: 0 taken"),
            (self.num_clipped, "clipped to their image"),
            (self.num_dropped_empty, "without area left out"),
            (self.num_dropped_outside, "outside of the image left out"),
        )
        parts += [f"{counted(count, 'box', 'boxes')} {what}" for count, what in repairs if count]
        return ", ".join(parts) + (dropped if self.dropped_ids else "")

    def _more(self) -> str:
        hidden = self.num_dropped - len(self.dropped_ids)
        return f" and {hidden} more" if hidden else ""


@dataclass(frozen=True, eq=False)
class CocoAnnotations:
    """Images and boxes of one annotation file, ordered by image id (``N`` images, ``A`` annotations).

    Everything is a flat array, so that worker processes share the memory instead of copying it page by
    page as they touch reference counts of Python objects.

    Attributes:
        categories: What class indexes mean.
        image_ids: ``[N]`` int64.
        sizes: ``[N, 2]`` int64 ``(height, width)`` in pixels.
        name_bytes: uint8, all file names in UTF-8, one after the other.
        name_offsets: ``[N + 1]`` int64 where each name starts in ``name_bytes``.
        boxes: ``[A, 4]`` float32 ``xyxy`` in pixels, inside the image and with an area.
        labels: ``[A]`` int64 class index.
        areas: ``[A]`` float32 annotated area in pixels squared.
        is_crowd: ``[A]`` bool.
        annotation_ids: ``[A]`` int64.
        offsets: ``[N + 1]`` int64 where the annotations of each image start.
        report: What was repaired or left out.
        negative: LVIS: class indexes checked to be absent from each image; None for COCO.
        not_exhaustive: LVIS: class indexes of which each image may hold more than is annotated; None for COCO.
    """

    categories: Categories
    image_ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    name_bytes: NDArray[np.uint8]
    name_offsets: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    areas: NDArray[np.float32]
    is_crowd: NDArray[np.bool_]
    annotation_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    report: AnnotationReport
    negative: Ragged | None = None
    not_exhaustive: Ragged | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def file_name(self, index: int) -> str:
        """Path of one image relative to the image folder."""
        start, stop = self.name_offsets[index], self.name_offsets[index + 1]
        return self.name_bytes[start:stop].tobytes().decode()

    def size(self, index: int) -> tuple[int, int]:
        """``(height, width)`` of one image in pixels."""
        height, width = self.sizes[index].tolist()
        return height, width

    def rows(self, index: int) -> slice:
        """Where the annotations of one image lie in the annotation arrays."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def num_objects(self) -> NDArray[np.int64]:
        """``[N]`` objects of every image, crowds left out."""
        before = np.concatenate(([0], np.cumsum(~self.is_crowd)))
        return np.asarray(before[self.offsets[1:]] - before[self.offsets[:-1]], dtype=np.int64)

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """The images of these positions, in this order; ``report`` stays that of the whole file."""
        chosen = np.asarray(indices, dtype=np.int64)
        names = [self.file_name(int(index)) for index in chosen]
        name_bytes, name_offsets = _pack_names(names)
        lengths = np.diff(self.offsets)[chosen]
        rows = np.concatenate([np.arange(0), *(np.arange(*self.rows(int(i)).indices(len(self.boxes))) for i in chosen)])
        return type(self)(
            categories=self.categories,
            image_ids=self.image_ids[chosen],
            sizes=self.sizes[chosen],
            name_bytes=name_bytes,
            name_offsets=name_offsets,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            areas=self.areas[rows],
            is_crowd=self.is_crowd[rows],
            annotation_ids=self.annotation_ids[rows],
            offsets=offsets_of(lengths),
            report=self.report,
            negative=None if self.negative is None else self.negative.select(chosen),
            not_exhaustive=None if self.not_exhaustive is None else self.not_exhaustive.select(chosen),
        )


def read_coco(
    path: Path, *, categories: Categories | None = None, allow_unlabelled: bool = False, layout: Layout = "coco"
) -> CocoAnnotations:
    """Read, check and pack an annotation file.

    Boxes without area and boxes outside their image are left out and boxes are clipped to it, all counted
    in ``report``. The file itself stays the ground truth of the evaluation, where nothing is changed.

    Args:
        path: JSON in COCO's instance layout, or in that of LVIS v1.
        categories: What class indexes mean, as taken from the training file or a checkpoint; the file must
            list the same. None takes the file's own, in ascending order of id.
        allow_unlabelled: Accept a file without ``annotations``, such as test images.
        layout: ``coco`` or ``lvis``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If anything in it breaks the layout; all kinds of faults are listed with counts.
    """
    content = read_coco_file(path, layout=layout)
    if categories is not None:
        categories.require_same(content.categories, source=str(path))
    if content.annotations is None and not allow_unlabelled:
        raise ValueError(f"{path} has no 'annotations'; only unlabelled images for prediction may lack them")
    return _pack(content)


def _pack(content: CocoFile) -> CocoAnnotations:
    images, annotations = content.images, content.annotations
    if annotations is None:
        annotations = no_annotations()
    image_ids = np.asarray(images.ids, dtype=np.int64)
    order = np.argsort(image_ids, kind="stable")
    sizes = np.asarray(images.sizes, dtype=np.int64).reshape(-1, 2)
    owners = annotations.images
    boxes, is_empty, is_outside, is_clipped = _clip(annotations.boxes, sizes[owners])
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    kept = np.flatnonzero(~(is_empty | is_outside))
    rows = kept[np.argsort(position[owners[kept]], kind="stable")]
    is_crowd = annotations.is_crowd
    with_objects = np.unique(owners[rows[~is_crowd[rows]]])
    doubts = box_doubts(annotations.boxes, sizes[owners], annotations.areas)
    name_bytes, name_offsets = _pack_names([images.file_names[row] for row in order])
    return CocoAnnotations(
        categories=content.categories,
        image_ids=image_ids[order],
        sizes=sizes[order],
        name_bytes=name_bytes,
        name_offsets=name_offsets,
        boxes=boxes[rows],
        labels=annotations.labels[rows],
        areas=annotations.areas[rows].astype(np.float32),
        is_crowd=is_crowd[rows],
        annotation_ids=annotations.ids[rows],
        offsets=offsets_of(np.bincount(position[owners[rows]], minlength=len(order))),
        report=AnnotationReport(
            num_images=len(order),
            num_annotations=len(annotations.ids),
            num_crowds=int(is_crowd[rows].sum()),
            num_images_without_objects=len(order) - len(with_objects),
            num_missing_area=annotations.num_missing_area,
            num_missing_iscrowd=0 if content.frequencies else annotations.num_missing_iscrowd,
            num_clipped=int(is_clipped.sum()),
            num_dropped_empty=int(is_empty.sum()),
            num_dropped_outside=int(is_outside.sum()),
            dropped_ids=tuple(annotations.ids[is_empty | is_outside][:MAX_EXAMPLES].tolist()),
            doubts=doubts,
        ),
        negative=None if images.negative is None else images.negative.select(order),
        not_exhaustive=None if images.not_exhaustive is None else images.not_exhaustive.select(order),
    )


def _clip(
    boxes_xywh: NDArray[np.float64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Boxes as float32 ``xyxy`` inside their images, and which were empty, outside, and clipped."""
    raw = np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), axis=1)
    limits = np.tile(sizes[:, ::-1], 2)
    clipped = np.clip(raw, 0, limits)
    is_empty = _has_no_area(raw.astype(np.float32))
    is_outside = ~is_empty & _has_no_area(clipped.astype(np.float32))
    is_clipped = ~(is_empty | is_outside) & (np.abs(clipped - raw) > _ROUNDING).any(axis=1)
    return clipped.astype(np.float32), is_empty, is_outside, is_clipped


def _has_no_area(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((boxes_xyxy[:, 2:] <= boxes_xyxy[:, :2]).any(axis=1))


def _pack_names(names: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [name.encode() for name in names]
    lengths = np.array([len(name) for name in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets_of(lengths)
