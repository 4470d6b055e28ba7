"""Which format a folder seems to have, by a look at few of its files; nothing here imports what reads them."""

import os
import re
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

YOLO, VOC, LABELME = "yolo", "voc", "labelme"
TITLES = {YOLO: "YOLO", VOC: "Pascal VOC", LABELME: "LabelMe"}
"""Names of the formats as their users write them."""
_DEPTH = 3
_MOST_ENTRIES = 200
"""Of a folder that are looked at; a folder without annotations may have a million images."""
_BYTES = 2**16
"""At the begin and the end of a file."""
_YOLO_NAMES = re.compile(rb"^names\s*:", re.MULTILINE)
_YOLO_ROW = re.compile(rb"\s*\d+(\.0*)?(\s+[\d.eE+-]+){4,}\s")
_NAMES_FILES = ("classes.txt", "obj.names")


def recognised_format(folder: Path) -> str | None:
    """One of ``TITLES``; None where the folder seems to have none of them, or cannot be read."""
    return next((found for path, depth in _files(folder) if (found := _format_of(path, depth)) is not None), None)


def import_hint(missing: Path) -> str:
    """Of an annotation file that is missing: how to import the data set that lies there; empty if there is none."""
    parent = missing.parent
    folder = parent.parent if parent.name.casefold() == "annotations" or not parent.is_dir() else parent
    found = recognised_format(folder) if folder.is_dir() else None
    if found is None:
        return ""
    target = folder.with_name(f"{folder.name}_coco") if folder.name else Path(f"{folder.resolve().name}_coco")
    words = f"{shlex.quote(str(folder))} target={shlex.quote(str(target))}"
    return f". {folder} seems to hold a data set of {TITLES[found]}, to be read after deta data import {words}"


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Files with their depth, those further up first, in order of their names; links are not followed."""
    level = [folder]
    for depth in range(_DEPTH + 1):
        below: list[Path] = []
        for each in level:
            try:
                with os.scandir(each) as entries:
                    some = sorted(islice(entries, _MOST_ENTRIES), key=lambda entry: entry.name)
            except OSError:
                continue
            below += [Path(entry) for entry in some if entry.is_dir(follow_symlinks=False)]
            yield from ((Path(entry), depth) for entry in some if entry.is_file(follow_symlinks=False))
        level = below[:_MOST_ENTRIES]


def _format_of(path: Path, depth: int) -> str | None:
    suffix = path.suffix.lower()
    if path.name.lower() in _NAMES_FILES:
        return YOLO
    if suffix in (".yaml", ".yml") and depth == 0:
        return YOLO if _YOLO_NAMES.search(_ends(path)) else None
    if suffix == ".txt" and "labels" in path.parts[-depth - 1 : -1]:
        return YOLO if _YOLO_ROW.match(_ends(path) + b"\n") else None
    if suffix == ".xml":
        return VOC if b"<annotation" in _ends(path) else None
    if suffix == ".json":
        text = _ends(path)
        return LABELME if b'"shapes"' in text and b'"imagePath"' in text else None
    return None


def _ends(path: Path) -> bytes:
    """The begin of a file and, of a long one, its end."""
    try:
        with path.open("rb") as file:
            begin = file.read(_BYTES)
            file.seek(max(len(begin), path.stat().st_size - _BYTES))
            return begin + file.read(_BYTES)
    except OSError:
        return b""
