"""Images that come while the program runs: into a folder, or piped into it."""

import codecs
import io
import os
import re
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from deta.data.image_search import is_taken
from deta.data.images import decode_image
from deta.inference.pictures import Picture, picture_of_file
from deta.inference.pipeline import Awaited
from deta.utils.wording import counted

_SECONDS_BETWEEN_LOOKS = 0.3
_LONGEST_IMAGE = 2**30
"""Bytes that are read of an image that is piped in."""
_NETPBM = re.compile(rb"P[1-7f]\s")
"""So begin images whose first line is a text."""
_HEAD = 512
"""Bytes that show whether an image comes or names do."""


class Arrivals(Awaited):
    """Pictures of a folder and those below it, first those that lie there, then those that arrive.

    A file is taken once size and time are what they were at the look before, so that nothing half written is read.

    Args:
        folder: To look into.
        seconds: End when nothing has arrived for so long; None never ends.
    """

    def __init__(self, folder: Path, *, seconds: float | None = None) -> None:
        self._folder, self._seconds = folder, seconds
        self._states: dict[Path, tuple[int, int]] = {}
        self._done: set[Path] = set()
        self._num_left_out = 0
        self._is_over = threading.Event()

    def __iter__(self) -> Iterator[Picture]:
        """Waits for more, until it is stopped."""
        last = time.monotonic()
        while True:
            for path in self._complete():
                self._done.add(path)
                if not is_taken(self._folder, path):
                    self._num_left_out += 1
                    continue
                yield picture_of_file(path)
                last = time.monotonic()
            if self._seconds is not None and time.monotonic() - last > self._seconds:
                return
            if self._is_over.wait(_SECONDS_BETWEEN_LOOKS):
                return

    def stop(self) -> None:
        """Wait no longer."""
        self._is_over.set()

    def notes(self) -> list[str]:
        """How many files were left out."""
        files = counted(self._num_left_out, "file was", "files were")
        return [f"{files} left out, as no image or as lying elsewhere"] if self._num_left_out else []

    def _complete(self) -> list[Path]:
        """New files that are as they were at the last look."""
        paths = sorted(Path(parent, name) for parent, _, names in os.walk(self._folder) for name in names)
        before, self._states = self._states, {}
        for path in paths:
            with suppress(OSError):  # it has gone since
                about = path.stat()
                if path not in self._done and stat.S_ISREG(about.st_mode):
                    self._states[path] = about.st_size, about.st_mtime_ns
        return [path for path, state in self._states.items() if before.get(path) == state]


def picture_of_stream(stream: BinaryIO) -> Picture | Iterator[bytes]:
    """The image that is piped in, or the lines of a text that is.

    Raises:
        ValueError: Nothing comes, or the image is too large.
    """
    head = _head_of(stream)
    if not head:
        raise ValueError("source=-: nothing was piped in: give an image, or names of images, one a line")
    if not _is_text(head):
        content = head + stream.read(_LONGEST_IMAGE)
        if len(content) > _LONGEST_IMAGE:
            raise ValueError(f"source=-: the image has more than {_LONGEST_IMAGE:,} bytes")
        return Picture("-", "stdin", lambda rules: decode_image(io.BytesIO(content), name="-", rules=rules))
    return _lines(head, stream)


def names_in(lines: Iterable[bytes]) -> Iterator[str]:
    """Names, one a line; empty lines and those that begin with # name nothing.

    Raises:
        ValueError: A line is no text.
    """
    for number, line in enumerate(lines, 1):
        try:
            name = line.decode("utf-8").strip().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is no text in UTF-8") from error
        if "\0" in name:
            raise ValueError(f"line {number} is no name of a file")
        if name and not name.startswith("#"):
            yield name


def _head_of(stream: BinaryIO) -> bytes:
    """What has come first: up to the end of a line, or enough to tell an image."""
    head = b""
    while len(head) < _HEAD and not head.endswith(b"\n"):
        more = stream.read(1)
        if not more:
            break
        head += more
    return head


def _is_text(head: bytes) -> bool:
    if _NETPBM.match(head):
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # which lets the last letter be cut
    except UnicodeDecodeError:
        return False
    return all(letter >= " " or letter in "\t\r\n" for letter in text)


def _lines(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    rest = head if head.endswith(b"\n") else head + stream.readline()
    yield from rest.splitlines()
    yield from iter(stream.readline, b"")
