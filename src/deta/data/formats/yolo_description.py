"""What a data set of YOLO says of itself: ``data.yaml``, or the list of names of older tools.

Paths in it are those of the machine that it was written on: the longest end of one that is in the folder is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from deta.data.formats.source import MAX_BYTES, SourceFolder, inside_name, parts_of
from deta.data.formats.yolo_labels import KeyPoints
from deta.utils.files import read_yaml

_USUAL = "data.yaml"
NAMES_FILES = ("classes.txt", "obj.names")
"""Names of the classes, one a line, where there is no ``data.yaml``."""
_PLACES = ("path", "download", "train", "val", "valid", "test", "names", "nc")


@dataclass(frozen=True)
class Description:
    """What is said of the whole data set.

    Attributes:
        names: Of the classes, by number.
        entries: Folders and list files of every split; empty where nothing is said of splits.
        key_points: Of every object; None where it has none.
        info: All else.
    """

    names: Mapping[int, str]
    entries: Mapping[str, Sequence[str]]
    key_points: KeyPoints | None
    info: Mapping[str, Any]


def describe(folder: SourceFolder) -> Description:
    """Find and read ``data.yaml``, or the list of names of older tools; faults are noted.

    Raises:
        ValueError: There is none, or several, or it cannot be read.
    """
    candidates = [_USUAL] if _USUAL in folder.known else [name for name in folder.names if _may_describe(name)]
    found = {name: content for name in candidates if (content := _description_in(folder, name)) is not None}
    if len(found) > 1:
        raise ValueError(f"{folder.root} has several descriptions, {', '.join(found)}: call the right one {_USUAL}")
    for name, content in found.items():
        return _from_yaml(folder, name, content)
    for name in folder.names:
        if PurePosixPath(name).name.lower() in NAMES_FILES:
            lines = [line.strip() for line in folder.read_text(name).rstrip().splitlines()]
            for number, line in enumerate(lines, 1):
                if not line:
                    folder.problems.add(
                        "empty line between names of classes, which are counted by lines", f"{name}, line {number}"
                    )
            return Description(dict(enumerate(lines)), {}, None, {})
    raise ValueError(f"{folder.root} has no names of classes: it needs data.yaml with 'names', or classes.txt")


def _may_describe(name: str) -> bool:
    """Whether a file is YAML at the top."""
    return "/" not in name and name.lower().endswith((".yaml", ".yml"))


def _description_in(folder: SourceFolder, name: str) -> Mapping[str, Any] | None:
    """The content of a YAML file if it names classes."""
    path = folder.path(name)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES:,} bytes")
    content = read_yaml(path)
    return content if isinstance(content, dict) and "names" in content else None


def _from_yaml(folder: SourceFolder, name: str, content: Mapping[str, Any]) -> Description:
    base = _base(folder, name, content.get("path"))
    entries = {}
    for key in ("train", "val", "valid", "test"):
        given = content.get(key)
        if given is None or given == "":
            continue
        places = given if isinstance(given, list) else [given]
        found = (_place(folder, f"{name}: {key}", entry, base) for entry in places)
        entries[key] = [place for place in found if place is not None]
    if content.get("download") is not None:
        folder.notes.add("'download' is not followed", name)
    info = {str(key): value for key, value in content.items() if key not in _PLACES}
    names = _names(folder, name, content["names"])
    if isinstance(content.get("nc"), int) and content["nc"] != len(names):
        folder.problems.add("'nc' that is not the number of names", f"{name}: {content['nc']} and {len(names)}")
    return Description(names, entries, _key_points(folder, name, content.get("kpt_shape")), info)


def _names(folder: SourceFolder, file: str, given: object) -> dict[int, str]:
    pairs = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(pairs, dict) or not pairs:
        rule = "names must be a list of texts, or texts by class number"
        raise ValueError(f"{folder.root / file}: {rule}, got {given!r}")
    names: dict[int, str] = {}
    for number, name in pairs.items():
        is_number = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        # YAML reads yes and no as truth values
        is_name = isinstance(name, (str, int)) and not isinstance(name, bool) and bool(str(name).strip())
        if is_number and is_name:
            names[number] = str(name)
        else:
            folder.problems.add("entry of names that is not a text by a number from 0", f"{file}: {number!r}: {name!r}")
    return dict(sorted(names.items()))


def _key_points(folder: SourceFolder, file: str, given: object) -> KeyPoints | None:
    if given is None:
        return None
    if isinstance(given, list) and len(given) == 2 and all(type(value) is int for value in given):
        number, dims = given
        if number > 0 and dims in (2, 3):
            return KeyPoints(number, dims)
    folder.problems.add("kpt_shape that is not [number, 2 or 3]", f"{file}: {given!r}")
    return None


def key_point_names(key_points: KeyPoints | None) -> dict[str, Any]:
    """What a category of COCO says of the points of its objects; YOLO has no names of them, so they are numbered."""
    if key_points is None:
        return {}
    return {"keypoints": [str(place) for place in range(1, key_points.number + 1)], "skeleton": []}


def _base(folder: SourceFolder, file: str, given: object) -> str:
    """The folder that entries start from, which ``path`` names as it was called where the file was written."""
    if given is None or given == "":
        return "."
    found = tail_of(folder, str(given))
    if found is None or found in folder.known:
        folder.notes.add("'path' is no folder here, the one of the file is taken", f"{file}: {given}")
        return "."
    return found


def _place(folder: SourceFolder, what: str, entry: object, base: str) -> str | None:
    """The folder or list file that an entry means, None where there is none, which is a fault."""
    if isinstance(entry, str) and entry.strip():
        plain = inside_name(f"{base}/{entry}")
        if plain is not None and _exists(folder, plain):
            return plain
        found = tail_of(folder, entry)
        if found is not None:
            folder.notes.add("entry is taken as a place in this folder", f"{what}: {entry} as {found}")
            return found
    folder.problems.add("split that does not exist", f"{what}: {entry!r}")
    return None


def tail_of(folder: SourceFolder, name: str) -> str | None:
    """The longest end of a path that is a file or folder of the source."""
    parts = [part for part in parts_of(name.strip().replace("\\", "/")) if part not in ("/", "..", ".")]
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((end for end in ends if _exists(folder, end)), None)


def _exists(folder: SourceFolder, name: str) -> bool:
    return name in folder.folders or name in folder.known
