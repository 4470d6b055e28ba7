"""Writing a folder in the layout of COCO 2017, which every command finds by ``data=coco data.root=<folder>`` alone."""

import errno
import os
import posixpath
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from deta.data.formats.records import ForeignDataset, ForeignImage
from deta.data.formats.source import SourceFolder
from deta.data.image_rows import name_fault
from deta.utils.files import UNFINISHED, named, replacing
from deta.utils.terminal import progress

TRANSFERS = ("hardlink", "symlink", "copy")


@dataclass(frozen=True)
class SplitFiles:
    """What is written of a split.

    Attributes:
        document: Content of the annotation file, as JSON.
        images: Name below the image folder, and the file itself or its content.
    """

    document: bytes
    images: Sequence[tuple[str, Path | bytes]]


def annotation_file(target: Path, split: str) -> Path:
    """Where the annotations of a split lie."""
    return target / "annotations" / f"instances_{split}2017.json"


def image_folder(target: Path, split: str) -> Path:
    """Where the images of a split lie."""
    return target / f"{split}2017"


def require_free(target: Path, splits: Sequence[str]) -> None:
    """Refuse to write over anything.

    Raises:
        FileExistsError: A file or folder of a split exists.
        NotADirectoryError: The target is a file.
    """
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"target={target} is a file: name a folder")
    for split in splits:
        for path in (annotation_file(target, split), image_folder(target, split)):
            if path.exists():
                raise FileExistsError(f"{path} exists: remove it, or name another target")


def write_layout(target: Path, splits: Mapping[str, SplitFiles], *, transfer: str) -> None:
    """Write annotation files and image folders; of a split there is an annotation file once all its images are there.

    Args:
        target: Folder, made if it is not there.
        splits: By name.
        transfer: How images get there: ``hardlink``, ``symlink`` or ``copy``.

    Raises:
        FileExistsError: A split is there already.
        OSError: Something cannot be written; the message says what to do.
        ValueError: An image leaves its folder.
    """
    require_free(target, list(splits))
    (target / "annotations").mkdir(parents=True, exist_ok=True)
    for split, files in splits.items():
        folder = image_folder(target, split)
        for left in target.glob(f"{folder.name}.*{UNFINISHED}"):
            shutil.rmtree(left)  # of a process that was killed
        unfinished = folder.with_name(f"{folder.name}.{os.getpid()}{UNFINISHED}")
        try:
            unfinished.mkdir()
            what = f"images of {split}"
            for name, source in progress(files.images, total=len(files.images), what=what):
                _place(source, unfinished, name, transfer)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        with replacing(annotation_file(target, split)) as path:
            path.write_bytes(files.document)


def coco_splits(dataset: ForeignDataset, folder: SourceFolder, kind: str) -> dict[str, SplitFiles]:
    """A data set of another format in COCO's terms. Ids run on over all splits, from 1.

    Args:
        dataset: What was read.
        folder: Where.
        kind: Name of the format, for ``info``.

    Raises:
        ValueError: There is no object, or a split has no image.
    """
    for split, images in dataset.splits.items():
        if not images:
            raise ValueError(f"{folder.root}: the split {split} has no image")
    if not dataset.categories:
        raise ValueError(f"{folder.root}: no image has an object")
    ids = _Ids()
    info = {"description": f"imported from {kind}", **_plain(dataset.info)}
    categories = list(dataset.categories.values())
    splits = {}
    for split, images in dataset.splits.items():
        names = short_names([image.name for image in images])
        document = {
            "info": info,
            "images": [_image_row(image, name, ids) for image, name in zip(images, names, strict=True)],
            "annotations": [row for image in images for row in _annotation_rows(image, dataset.categories, ids)],
            "categories": categories,
        }
        sources = [image.content if image.content is not None else folder.path(image.name) for image in images]
        splits[split] = SplitFiles(msgspec.json.encode(document), list(zip(names, sources, strict=True)))
    return splits


def short_names(names: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them lie in."""
    common = posixpath.commonpath([posixpath.dirname(name) or "." for name in names]) if names else ""
    is_common = common not in ("", ".") and all(name.startswith(f"{common}/") for name in names)
    return [name.removeprefix(f"{common}/") if is_common else name for name in names]


class _Ids:
    """Numbers of images and of their annotations: an image that two splits have keeps its own."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, int]] = {}
        self._next = 1

    def of(self, image: ForeignImage) -> tuple[int, int]:
        """Id of the image, and of its first annotation."""
        if image.name not in self._first:
            self._first[image.name] = (len(self._first) + 1, self._next)
            self._next += len(image.objects)
        return self._first[image.name]


def _image_row(image: ForeignImage, name: str, ids: _Ids) -> dict[str, Any]:
    height, width = image.size
    row = {"id": ids.of(image)[0], "width": width, "height": height, "file_name": name}
    return row | ({"attributes": _plain(image.attributes)} if image.attributes else {})


def _annotation_rows(
    image: ForeignImage, categories: Mapping[int | str, Mapping[str, Any]], ids: _Ids
) -> list[dict[str, Any]]:
    image_id, first = ids.of(image)
    return [
        {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": categories[each.category]["id"],
            "bbox": each.box,
            "area": each.area,
            "segmentation": each.outline,
            "iscrowd": int(each.is_crowd),
            **each.fields,
            **({"attributes": _plain(each.attributes)} if each.attributes else {}),
        }
        for annotation_id, each in enumerate(image.objects, first)
    ]


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever YAML, XML or JSON holds
    """The value with texts as keys, as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _place(source: Path | bytes, folder: Path, name: str, transfer: str) -> None:
    fault = name_fault(name)
    if fault is not None:
        raise ValueError(f"image {name!r} {fault}")
    target = folder / PurePosixPath(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        target.write_bytes(source)
        return
    try:
        if transfer == "copy":
            shutil.copyfile(source, target)
        elif transfer == "symlink":
            target.symlink_to(source.resolve())
        else:
            os.link(source.resolve(), target)
    except OSError as error:
        if transfer == "hardlink" and error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise OSError(
                f"{source} cannot be linked into {folder.parent}, {error.strerror}: take a target on the disk of the "
                "source, or transfer=copy or transfer=symlink"
            ) from error
        raise named(error, target) from error
