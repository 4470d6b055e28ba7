"""The image files that a user means by a file name, a folder or a glob."""

import functools
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

from PIL import Image

from deta.data.decoding import FORMATS, is_image
from deta.data.files import path_inside, with_similar
from deta.data.problems import MAX_EXAMPLES
from deta.utils.files import expanded
from deta.utils.wording import counted


@dataclass(frozen=True)
class FoundImages:
    """What a search gave.

    Attributes:
        paths: Image files, sorted.
        left_out: Other files, sorted: no images, or links that lead out of the folder.
    """

    paths: tuple[Path, ...]
    left_out: tuple[Path, ...]

    def left_out_report(self) -> str:
        """One sentence on the files left out; empty if there is none."""
        if not self.left_out:
            return ""
        shown = ", ".join(map(str, self.left_out[:MAX_EXAMPLES]))
        more = " ..." if len(self.left_out) > MAX_EXAMPLES else ""
        files = counted(len(self.left_out), "file was", "files were")
        return f"{files} left out, as no image or as lying elsewhere: {shown}{more}"


def find_images(source: object) -> FoundImages:
    """The image files that a file name, a folder with those below it, or a glob means.

    A file that is named itself is taken as it is. Of a folder or glob those are taken whose suffix is that of a format
    that is read (``.jpg``, ``.jfif``, ``.avif``, ...), and those without such a suffix whose content is of one.

    Args:
        source: What the user wrote; a number is the name of a file.

    Raises:
        ValueError: It is empty, or no name.
        FileNotFoundError: There is no such file, or no image in the folder.
        OSError: The folder cannot be read.
    """
    if isinstance(source, bool) or not isinstance(source, (str, int, Path)) or not str(source).strip():
        raise ValueError(f"source must name an image file, a folder or a quoted glob, got {source!r}")
    path = expanded(str(source))
    if path.is_file():
        return FoundImages((path,), ())
    if path.is_dir():
        folder, files = path, _files_below(path)
    else:
        folder, files = _fixed_part(path), _files_of_glob(path)
    found = _sorted_out(folder, files)
    if not found.paths:
        what = "the folder holds no image" if path.is_dir() else _nothing(path)
        raise FileNotFoundError(f"source={source}: {what}{_of_those_left_out(found)}")
    return found


def has_image_name(path: PurePath) -> bool:
    """Whether a file has the suffix of an image; ``._photo.jpg`` of macOS only describes ``photo.jpg``."""
    return path.suffix.lower() in image_suffixes() and not path.name.startswith("._")


def is_taken(folder: Path, path: Path) -> bool:
    """Whether a file of a folder is an image by its name or content, and no link that leads out of the folder."""
    try:
        path_inside(folder, os.path.relpath(path, folder))
    except ValueError:
        return False
    return has_image_name(path) or is_image(path)


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that are read, in small letters, each with its dot."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in (*FORMATS, "MPO"))  # MPO is opened as JPEG


def _sorted_out(folder: Path, files: Iterator[Path]) -> FoundImages:
    images: list[Path] = []
    others: list[Path] = []
    for path in files:
        (images if is_taken(folder, path) else others).append(path)
    return FoundImages(tuple(sorted(images)), tuple(sorted(others)))


def _files_below(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> NoReturn:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail):  # does not follow links to folders
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _files_of_glob(pattern: Path) -> Iterator[Path]:
    anchor = Path(pattern.anchor)
    try:
        yield from (path for path in anchor.glob(str(pattern.relative_to(anchor))) if path.is_file())
    except ValueError as error:
        raise ValueError(f"source={pattern} is neither a file nor a glob: {error}") from error


def _fixed_part(pattern: Path) -> Path:
    """The folder in which a glob searches."""
    return next((parent for parent in pattern.parents if not glob.has_magic(str(parent))), Path())


def _nothing(path: Path) -> str:
    similar = with_similar(path.parent, path.name)
    hint = "" if similar == path.name else f": {similar}"
    return f"no such file or folder, and no image fits it as a glob{hint}"


def _of_those_left_out(found: FoundImages) -> str:
    return f" ({found.left_out_report()})" if found.left_out else ""
