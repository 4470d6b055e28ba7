"""The files that an annotation file names: where they lie, and which one is meant where there is none."""

import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from deta.data.coco import CocoAnnotations
from deta.data.problems import MAX_EXAMPLES
from deta.utils.wording import counted


def path_inside(folder: Path, name: str, *, follow_links: bool = False) -> Path:
    """The path of the file ``name`` in a folder.

    Args:
        folder: May itself be a link.
        name: Relative to it.
        follow_links: Whether links in the folder may lead out of it.

    Returns:
        Unless ``follow_links``, without any link. The file need not exist.

    Raises:
        ValueError: The path leaves the folder.
    """
    root = os.path.realpath(folder)
    try:
        path = Path((os.path.normpath if follow_links else os.path.realpath)(Path(root) / name))
    except ValueError as error:  # a null character
        raise ValueError(f"{name!r} is not the name of a file") from error
    if not path.is_relative_to(root):
        raise ValueError(
            f"{name} leads out of the folder {folder}, to {path}: name a folder that holds all files, or, if links in "
            "it may lead elsewhere, set follow_links=true (in a data set data.follow_links=true)"
        )
    return path


def missing_files(annotations: CocoAnnotations, image_folder: Path) -> list[str]:
    """Names of the images that are not files below ``image_folder``."""
    names = (annotations.file_name(index) for index in range(len(annotations)))
    return [name for name in names if not _is_file(image_folder / name)]


def require_files(annotations: CocoAnnotations, image_folder: Path) -> None:
    """Raise ``FileNotFoundError`` with count and first names unless every image file exists."""
    if not image_folder.is_dir():
        raise FileNotFoundError(f"image folder {image_folder} does not exist; check data.root and the folders below it")
    missing = missing_files(annotations, image_folder)
    if missing:
        shown = ", ".join(with_similar(image_folder, name) for name in missing[:MAX_EXAMPLES])
        raise FileNotFoundError(
            f"{len(missing)} of {counted(len(annotations), 'image does', 'images do')} not exist in {image_folder}: "
            f"{shown}{' ...' if len(missing) > MAX_EXAMPLES else ''}"
        )


def with_similar(folder: Path, name: str) -> str:
    """The name of a missing file and, where a file of the folder seems to be meant, that one and how they differ."""
    plain, differences = name, []
    if "\\" in plain:
        plain = plain.replace("\\", "/")
        differences.append("backslashes")
    if unquote(plain) != plain:
        plain = unquote(plain)
        differences.append("percent-encoding")
    parts = [part for part in PurePosixPath(plain).parts if part not in ("/", "..")]
    for first in range(len(parts)):
        found = _walk(folder, parts[first:])
        if found is not None:
            path, steps = found
            outer = ["the folders before it"] if first or len(parts) < len(PurePosixPath(plain).parts) else []
            told = dict.fromkeys([*differences, *outer, *steps])
            return f"{name} ({path} is there, the difference: {', '.join(told)})"
    return name


_LIKENESS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("", lambda name: name),
    ("the Unicode form (NFC or NFD) of the letters", lambda name: unicodedata.normalize("NFC", name)),
    ("letter case", lambda name: unicodedata.normalize("NFC", name).casefold()),
    ("blanks at the ends", lambda name: unicodedata.normalize("NFC", name).casefold().strip()),
    ("the suffix", lambda name: PurePosixPath(unicodedata.normalize("NFC", name).casefold().strip()).stem),
)
"""Ever looser ways for two names to be alike."""


def _walk(folder: Path, parts: Sequence[str]) -> tuple[str, list[str]] | None:
    """The file that these names mean, one folder after the other, and how its names differ."""
    found, differences = PurePosixPath(), []
    for position, part in enumerate(parts):
        try:
            entries = sorted(entry.name for entry in (folder / found).iterdir())
        except OSError:  # it is not a folder, or may not be read
            return None
        likenesses = _LIKENESS if position == len(parts) - 1 else _LIKENESS[:-1]
        alike = ((entry, what) for what, form in likenesses for entry in entries if form(entry) == form(part))
        entry, difference = next(alike, ("", ""))
        if not entry:
            return None
        found /= entry
        differences += [difference] if difference else []
    return (str(found), differences) if _is_file(folder / found) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
