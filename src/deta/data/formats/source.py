"""The folder that a data set of another format lies in; nothing outside of it is read."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NoReturn

from deta.data.decoding import ImageError, ImageSizes, read_sizes
from deta.data.files import path_inside
from deta.data.image_search import has_image_name
from deta.data.problems import Problems

MAX_BYTES = 2**26
"""Longest text file that is read, far above what the annotations of one image take."""
_FOLLOWED = "set follow_links=true to follow links"


class SourceFolder:
    """The files below a folder, by their paths from it with ``/`` between the parts.

    Args:
        root: May itself be a link.
        follow_links: Whether links in it may lead out of it.

    Attributes:
        problems: Faults, all of which the source must be rid of.
        notes: What is left out or read otherwise than it is written, all of which the user is told.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
        OSError: It cannot be read.
    """

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        if not root.exists():
            raise FileNotFoundError(f"folder={root} does not exist")
        if not root.is_dir():
            raise NotADirectoryError(f"folder={root} is a file: give the folder that annotations and images lie in")
        self.root, self._follow_links = root, follow_links
        self.problems, self.notes = Problems(str(root)), Problems("")
        self.names = tuple(sorted(self._walk()))

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Names of the image files, by their suffixes."""
        return tuple(name for name in self.names if has_image_name(PurePosixPath(name)))

    @cached_property
    def known(self) -> frozenset[str]:
        """All names."""
        return frozenset(self.names)

    @cached_property
    def folders(self) -> frozenset[str]:
        """Names of all folders that a file lies in or below, the root being ``.``."""
        return frozenset(str(parent) for name in self.names for parent in PurePosixPath(name).parents)

    def with_suffix(self, suffix: str) -> list[str]:
        """Names that end so, in small letters or large ones."""
        return [name for name in self.names if name.lower().endswith(suffix)]

    def path(self, name: str) -> Path:
        """Where a file lies.

        Raises:
            ValueError: Outside.
        """
        return path_inside(self.root, name, follow_links=self._follow_links)

    def read_text(self, name: str) -> str:
        """A text file in UTF-8, with or without byte order mark; empty, and a fault noted, where it is none."""
        path = self.path(name)
        if path.stat().st_size > MAX_BYTES:
            self.problems.add(f"text file of more than {MAX_BYTES:,} bytes", name)
            return ""
        try:
            return path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            self.problems.add("text file that is not UTF-8", f"{name}: {error.reason} at byte {error.start}")
            return ""

    def sizes(self, names: Iterable[str], *, max_pixels: int, num_workers: int) -> Mapping[str, ImageSizes]:
        """Sizes of images; those that cannot be read are left out, and faults noted."""

        def look(name: str) -> ImageSizes | ImageError:
            try:
                return read_sizes(self.path(name), name=name, max_pixels=max_pixels)
            except ImageError as error:
                return error

        names = list(names)
        with ThreadPoolExecutor(max_workers=num_workers) as pool:
            found = dict(zip(names, pool.map(look, names), strict=True))
        self.problems.add_all(
            ("image that cannot be used", str(e)) for e in found.values() if isinstance(e, ImageError)
        )
        return {name: sizes for name, sizes in found.items() if not isinstance(sizes, ImageError)}

    def _walk(self) -> Iterator[str]:
        def fail(error: OSError) -> NoReturn:
            raise error

        seen = {os.path.realpath(self.root)}
        for parent, folders, files in os.walk(self.root, onerror=fail, followlinks=self._follow_links):
            folders[:] = [name for name in sorted(folders) if self._is_entered(Path(parent, name), seen)]
            for name in files:
                path = Path(parent, name)
                if self._is_taken(path):
                    yield path.relative_to(self.root).as_posix()

    def _is_entered(self, path: Path, seen: set[str]) -> bool:
        if not path.is_symlink():
            return True
        if not self._follow_links:
            self.problems.add(f"folder that is a link, {_FOLLOWED}", str(path.relative_to(self.root)))
            return False
        real = os.path.realpath(path)
        if any(Path(known).is_relative_to(real) for known in seen):
            self.problems.add("link to a folder that it lies in", str(path.relative_to(self.root)))
            return False
        seen.add(real)
        return True

    def _is_taken(self, path: Path) -> bool:
        name = path.relative_to(self.root).as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            self.problems.add("file whose name is not UTF-8", repr(name))
            return False
        if not path.is_symlink():
            return path.is_file()
        try:
            return self.path(name).is_file()
        except ValueError:
            self.problems.add(f"file that is a link out of the folder, {_FOLLOWED}", name)
            return False


def parts_of(name: str) -> tuple[str, ...]:
    """Folders and file of a name."""
    return PurePosixPath(name).parts


def stem_of(name: str) -> str:
    """The file without its last suffix."""
    return PurePosixPath(name).stem


def inside_name(name: str) -> str | None:
    """A path with ``.`` and ``..`` resolved and backslashes turned; None if it leads out, or is absolute."""
    plain = name.replace("\\", "/")
    is_absolute = plain.startswith("/") or plain[1:2] == ":"
    resolved = os.path.normpath(plain)
    return None if is_absolute or resolved == ".." or resolved.startswith("../") or "\0" in plain else resolved
