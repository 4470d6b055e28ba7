"""YOLO: a label file for every image, and ``data.yaml`` with the names of the classes and where the splits lie.

Source: the formats of Ultralytics (detect, segment, obb, pose), and the folders that Roboflow, CVAT and labelImg write.
Boxes are shares of the image turned upright by its EXIF orientation. The number of a class becomes the id of its
category. An image without a label file is one without objects.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from deta.data.formats.records import (
    ForeignDataset,
    ForeignImage,
    ImportOptions,
    images_of_all,
    is_usual_split,
    splits_by_folder,
)
from deta.data.formats.source import SourceFolder, inside_name, parts_of, stem_of
from deta.data.formats.yolo_description import Description, describe, key_point_names, tail_of
from deta.data.formats.yolo_labels import read_rows

_OTHER_TEXTS = ("classes.txt", "readme", "train.txt", "val.txt", "valid.txt", "test.txt")


def read_yolo(folder: SourceFolder, options: ImportOptions) -> ForeignDataset:
    """Images and objects of a folder; faults and what is left out are noted there."""
    description = describe(folder)
    folder.problems.raise_if_any()
    found = _splits(folder, description.entries)
    chosen = options.chosen_splits(found)
    images = images_of_all(chosen)
    sizes = folder.sizes(images, max_pixels=options.max_pixels, num_workers=options.num_workers)
    is_background = options.unlabelled is not False
    read: dict[str, ForeignImage] = {}
    for name in images:
        label_file = label_name(name)
        if label_file not in folder.known:
            folder.notes.add(options.of_unlabelled(default=True), name)
            if not is_background:
                continue
        if name in sizes:
            read[name] = _image(folder, name, sizes[name].upright, description)
    _note_orphans(folder, images)
    categories: dict[int | str, dict[str, Any]] = {
        number: {"id": number, "name": text, **key_point_names(description.key_points)}
        for number, text in description.names.items()
    }
    splits = {split: [read[name] for name in names if name in read] for split, names in chosen.items()}
    return ForeignDataset(categories, splits, {"data.yaml": dict(description.info)} if description.info else {})


def label_name(image: str) -> str:
    """Where the labels of an image lie: the last folder ``images`` above it is ``labels``, or else beside it."""
    parts = list(parts_of(image))
    last = max((place for place, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if last is not None:
        parts[last] = "labels"
    return str(PurePosixPath(*parts).with_suffix(".txt"))


def _image(folder: SourceFolder, name: str, size: tuple[int, int], description: Description) -> ForeignImage:
    label_file = label_name(name)
    text = folder.read_text(label_file) if label_file in folder.known else ""
    rows = [row for line in text.splitlines() if (row := line.strip())]
    if len(set(rows)) < len(rows):
        folder.notes.add("label file with a row twice: both are kept", label_file)
    objects = read_rows(
        text,
        name=label_file,
        size=size,
        classes=description.names,
        key_points=description.key_points,
        fault=folder.problems.add,
    )
    if label_file in folder.known and not rows:
        folder.notes.add("label file without a row, the image is taken as one without objects", label_file)
    return ForeignImage(name, size, objects)


def _note_orphans(folder: SourceFolder, images: Iterable[str]) -> None:
    """Tell of labels that no image has, and of images that no split has."""
    expected = {label_name(name) for name in folder.images}
    label_folders = {str(PurePosixPath(name).parent) for name in expected}
    for name in folder.with_suffix(".txt"):
        path = PurePosixPath(name)
        is_label = "labels" in path.parts[:-1] or str(path.parent) in label_folders
        if is_label and name not in expected and not path.name.lower().startswith(_OTHER_TEXTS):
            folder.notes.add("label file without an image, left out", name)
    taken = set(images)
    for name in folder.images:
        if name not in taken:
            folder.notes.add("image in no split that is taken, left out", name)


def _splits(folder: SourceFolder, entries: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names of images by the name of their split in the source."""
    if entries:
        return {key: _images_of(folder, places) for key, places in entries.items()}
    lists = {stem_of(name): name for name in folder.names if "/" not in name and name.lower().endswith(".txt")}
    named = {stem: _images_of(folder, [name]) for stem, name in lists.items() if is_usual_split(stem)}
    return named or splits_by_folder(folder.images)


def _images_of(folder: SourceFolder, places: Sequence[str]) -> list[str]:
    """Names of the images in folders, and of those in list files."""
    names: dict[str, None] = {}
    for place in places:
        if place in folder.known:
            names |= dict.fromkeys(_listed(folder, place))
        else:
            start = "" if place == "." else f"{place}/"
            names |= dict.fromkeys(name for name in folder.images if name.startswith(start))
    return list(names)


def _listed(folder: SourceFolder, file: str) -> Iterable[str]:
    """Images in a list, a line each: from the folder of the list, from the top, or as an absolute path once was."""
    images = frozenset(folder.images)
    parent = str(PurePosixPath(file).parent)
    for line in folder.read_text(file).splitlines():
        if not line.strip():
            continue
        places = (inside_name(f"{parent}/{line.strip()}"), inside_name(line.strip()), tail_of(folder, line))
        found = next((place for place in places if place in images), None)
        if found is None:
            folder.problems.add("image in a list that does not exist", f"{file}: {line.strip()}")
        else:
            yield found
