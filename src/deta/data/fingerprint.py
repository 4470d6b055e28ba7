"""Which data a run was made with: the content of an annotation file, whatever its place and formatting."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from deta.data.coco_json import CocoFile, read_coco_file
from deta.data.image_rows import Layout
from deta.data.shapes_recipe import ShapesRecipe
from deta.utils.files import write_json
from deta.utils.wording import counted

_log = logging.getLogger(__name__)

_VERSION = 1
"""Raised by every change that gives the same data another digest; part of the digest."""
_SETTLED_S = 2.0
"""A file that was written this recently may change again without another time stamp: its digest is not kept."""


@dataclass(frozen=True)
class DataFingerprint:
    """The content of one split. Two are equal if their data are, however the files are called.

    Attributes:
        annotations: Name of the annotation file without its folder, or what generated it; for messages.
        digest: SHA-256 in hexadecimal over images (id, size, file name), objects (image, class, box, area, crowd),
            classes (id, name) and the lists of LVIS; neither of the folder nor of the pixels.
        num_images: Images listed.
        num_boxes: Annotations, crowds included; None where they are only known by drawing them.
        num_classes: Categories.
    """

    annotations: str = field(compare=False)
    digest: str
    num_images: int
    num_boxes: int | None
    num_classes: int

    def __str__(self) -> str:
        boxes = [] if self.num_boxes is None else [counted(self.num_boxes, "box", "boxes")]
        counts = [counted(self.num_images, "image"), *boxes, counted(self.num_classes, "class", "classes")]
        return f"{self.annotations} ({', '.join(counts)}, digest {self.digest[:8]})"

    def to_dict(self) -> dict[str, Any]:
        """Its fields, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """Rebuild from what ``to_dict`` gave.

        Raises:
            ValueError: It is something else.
        """
        names = {attribute.name for attribute in fields(cls)}
        if not isinstance(content, Mapping) or set(content) != names:
            raise ValueError(f"a fingerprint of data has the keys {', '.join(sorted(names))}, got {content!r}")
        texts, counts = ("annotations", "digest"), ("num_images", "num_classes")
        if (
            not all(isinstance(content[name], str) for name in texts)
            or not all(type(content[name]) is int for name in counts)
            or not (content["num_boxes"] is None or type(content["num_boxes"]) is int)
        ):
            raise ValueError(f"a fingerprint of data has texts {texts} and integers, got {dict(content)!r}")
        return cls(**content)

    def differences(self, other: Self) -> str:
        """What ``other`` has otherwise, such as ``images 100 -> 101``; empty if the data are the same."""
        if self == other:
            return ""
        counts = (
            ("images", self.num_images, other.num_images),
            ("boxes", self.num_boxes, other.num_boxes),
            ("classes", self.num_classes, other.num_classes),
        )
        changed = [f"{name} {old} -> {new}" for name, old, new in counts if None not in (old, new) and old != new]
        return ", ".join(changed) or "the same numbers of images, boxes and classes, but other content"


def fingerprint(path: Path, *, layout: Layout = "coco", cache: Path) -> DataFingerprint:
    """The fingerprint of an annotation file; shards keep that of the folder they were made of.

    Args:
        path: JSON in the layout of COCO or LVIS.
        layout: ``coco`` or ``lvis``.
        cache: Folder below which fingerprints are kept by path, size and time of change, so that a large file is
            read once; where it cannot be written to, a warning says so.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no valid annotation file, see ``read_coco_file``.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return _read(path, layout)  # whose message names the remedy
    place = str(path.resolve())
    key = {"version": _VERSION, "path": place, "layout": layout, "size": status.st_size, "mtime": status.st_mtime_ns}
    kept = cache / "fingerprints" / f"{hashlib.sha256(f'{layout} {place}'.encode()).hexdigest()[:32]}.json"
    known = _look_up(kept, key)
    if known is not None:
        return known
    found = _read(path, layout)
    if abs(time.time() - status.st_mtime) > _SETTLED_S:
        _keep(kept, key, found)
    return found


def recipe_fingerprint(
    recipe: ShapesRecipe, split: Literal["train", "val"], *, num_classes: int = 6
) -> DataFingerprint:
    """The fingerprint of generated pictures, which need not have been drawn."""
    return DataFingerprint(
        annotations=f"{recipe.folder_name()}/{split}",
        digest=hashlib.sha256(f"{recipe.digest()} {split}".encode()).hexdigest(),
        num_images=recipe.num_train if split == "train" else recipe.num_val,
        num_boxes=None,
        num_classes=num_classes,
    )


def _read(path: Path, layout: Layout) -> DataFingerprint:
    content = read_coco_file(path, layout=layout)
    return DataFingerprint(
        annotations=path.name,
        digest=_digest(content),
        num_images=len(content.images.ids),
        num_boxes=0 if content.annotations is None else len(content.annotations.ids),
        num_classes=len(content.categories),
    )


def _digest(content: CocoFile) -> str:
    """Of the images by id and the annotations of each in file order, the order in which they are trained on."""
    images, annotations, digest = content.images, content.annotations, hashlib.sha256()
    order = np.argsort(np.asarray(images.ids, dtype=np.int64), kind="stable")
    header = {
        "version": _VERSION,
        "ids": content.categories.ids,
        "names": content.categories.names,
        "frequencies": content.frequencies,
        "is_labelled": annotations is not None,
    }
    digest.update(json.dumps(header).encode())
    for index in order.tolist():
        digest.update(json.dumps([images.ids[index], images.sizes[index], images.file_names[index]]).encode())
    for lists in (images.negative, images.not_exhaustive):
        if lists is not None:
            in_order = lists.select(order)
            digest.update(in_order.offsets.tobytes() + in_order.values.tobytes())
    if annotations is not None:
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        owners = position[annotations.images]
        rows = np.argsort(owners, kind="stable")
        columns = (owners, annotations.labels, annotations.boxes, annotations.areas, annotations.is_crowd)
        for column in columns:
            digest.update(np.ascontiguousarray(column[rows]).tobytes())
    return digest.hexdigest()


def _look_up(kept: Path, key: Mapping[str, Any]) -> DataFingerprint | None:
    """What was kept for this state of the file; a record that cannot be read counts as none."""
    try:
        content = json.loads(kept.read_bytes())
        if isinstance(content, dict) and content.get("key") == key:
            return DataFingerprint.from_dict(content.get("fingerprint"))
    except (OSError, ValueError, RecursionError):
        pass
    return None


def _keep(kept: Path, key: Mapping[str, Any], found: DataFingerprint) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, {"key": key, "fingerprint": found.to_dict()})
    except OSError as error:
        _log.warning("the fingerprint of %s is not kept, it is computed again each time: %s", found.annotations, error)
