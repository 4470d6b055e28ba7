"""What may be looked at: files, folders, globs, lists, addresses, videos, cameras, what arrives and what is given."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from deta.data.image_search import find_images
from deta.inference.addresses import is_address, picture_of_address
from deta.inference.arrivals import Arrivals, names_in, picture_of_stream
from deta.inference.pictures import Picture, given_picture, picture_of_file
from deta.utils.checks import require_bool, require_int, require_number
from deta.utils.files import expanded

FORMS = (
    "an image file, a folder, a quoted glob, a list of images (.txt), an address (https://, rtsp://), a video file, "
    "the number of a camera, or - for what is piped in"
)
VIDEO_SUFFIXES = frozenset(
    (
        *(".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    )
)
_STREAM = re.compile(r"(?i)(rtsps?|rtmps?|udp|tcp|srt)://")


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        watch: Whether images that arrive in a folder later are looked at too, until the program is stopped.
        watch_seconds: The watch ends when nothing has arrived for so long; None watches until the program is stopped.
        every: Of a video every so many frames, from 1.
        max_frames: Of each video or camera; None = all.
    """

    watch: bool = False
    watch_seconds: float | None = None
    every: int = 1
    max_frames: int | None = None

    def __post_init__(self) -> None:
        require_bool("watch", self.watch)
        if self.watch_seconds is not None:
            require_number("watch_seconds", self.watch_seconds, low=0)
            if not self.watch:
                raise ValueError(f"watch_seconds={self.watch_seconds:g} ends a watch, which watch=true begins")
        require_int("every", self.every, low=1)
        if self.max_frames is not None:
            require_int("max_frames", self.max_frames, low=1)

    @property
    def is_of_frames(self) -> bool:
        """Whether they say something of frames, which images have not."""
        return self.every > 1 or self.max_frames is not None


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures, to be taken once.

    Attributes:
        pictures: In their order.
        total: Their number; None where it is not known before.
        is_single: Whether it is one picture alone.
        rate: Frames a second of a video; None for images, and for several sources.
        has_frames: Whether some may be frames of videos or cameras.
        notes: What there is to say at the end, one sentence each.
    """

    pictures: Iterable[Picture]
    total: int | None = None
    is_single: bool = False
    rate: Fraction | None = None
    has_frames: bool = False
    notes: Callable[[], Sequence[str]] = field(default=lambda: ())


def open_source(
    source: object, options: SourceOptions | None = None, *, standard_input: BinaryIO | None = None
) -> Source:
    """The pictures that a user means.

    Args:
        source: One of ``FORMS``; an image of Pillow, an array or a tensor, see ``given_picture``; or a sequence of any
            of these.
        options: How they are read; None is the defaults.
        standard_input: In place of that of the process.

    Raises:
        ValueError: It is none of these, or an option does not fit it.
        FileNotFoundError: There is no such file, or no image.
        ModuleNotFoundError: A video needs a package that is not installed.
        OSError: It cannot be read.
    """
    options = options or SourceOptions()
    found = _opened(source, options, standard_input)
    if options.watch and not isinstance(found.pictures, Arrivals):
        raise ValueError(f"watch=true waits for images that arrive in a folder, and source={source!s:.80} is none")
    if options.is_of_frames and not found.has_frames:
        raise ValueError(f"every and max_frames are of videos and cameras, and source={source!s:.80} has no frames")
    return found


def _opened(source: object, options: SourceOptions, standard_input: BinaryIO | None = None) -> Source:
    if isinstance(source, (Image.Image, np.ndarray, Tensor)):
        return Source([given_picture(source, "image")], total=1, is_single=True)
    if isinstance(source, (str, os.PathLike)) or (isinstance(source, int) and not isinstance(source, bool)):
        text = os.fspath(source) if isinstance(source, os.PathLike) else str(source)
        return _of_text(text, options, standard_input)
    if isinstance(source, Sequence) and not isinstance(source, bytes):
        return _of_several(source, options)
    raise ValueError(f"source must name {FORMS}, got {source!r:.80}")


def _of_text(
    text: str, options: SourceOptions, standard_input: BinaryIO | None, lists: tuple[Path, ...] = ()
) -> Source:
    """What a name means, which stands in these lists."""
    if not text.strip():
        raise ValueError(f"source must name {FORMS}, got {text!r}")
    if text == "-":
        return _of_stream(sys.stdin.buffer if standard_input is None else standard_input, options)
    is_web = is_address(text)
    suffix = Path(text.partition("?")[0]).suffix.lower()
    if _STREAM.match(text) or (is_web and suffix in (*VIDEO_SUFFIXES, ".m3u8")):
        return _of_video(text, options)
    if is_web:
        return Source([picture_of_address(text)], total=1, is_single=True)
    path = expanded(text)
    is_file = path.is_file()
    if text.isdecimal() and not path.exists():
        return _of_camera(int(text), options)
    if is_file and suffix == ".txt":
        return _of_list(path, options, lists)
    if is_file and suffix in VIDEO_SUFFIXES:
        return _of_video(str(path), options)
    return _of_files(path, text, options)


def _of_files(path: Path, text: str, options: SourceOptions) -> Source:
    if options.watch and path.is_dir():
        arrivals = Arrivals(path, seconds=options.watch_seconds)
        return Source(arrivals, notes=arrivals.notes)
    found = find_images(text)
    pictures = [picture_of_file(image) for image in found.paths]
    report = found.left_out_report()
    return Source(pictures, total=len(pictures), is_single=path.is_file(), notes=lambda: (report,) if report else ())


def _of_list(path: Path, options: SourceOptions, lists: tuple[Path, ...]) -> Source:
    """Images named in a file, one a line; relative names start from its folder."""
    if path.resolve() in lists:
        raise ValueError(f"source={path}: the list names itself")
    try:
        names = list(names_in(path.read_bytes().splitlines()))
    except ValueError as error:
        raise ValueError(f"source={path}: {error}") from error
    if not names:
        raise FileNotFoundError(f"source={path}: the list names no image")
    try:
        return _joined([_of_name(name, path.parent, options, (*lists, path.resolve())) for name in names])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"source={path}, a list of one image a line: {error}") from error


def _of_name(name: str, folder: Path, options: SourceOptions, lists: tuple[Path, ...] = ()) -> Source:
    return _of_text(name if is_address(name) else str(folder / expanded(name)), options, None, lists)


def _of_stream(stream: BinaryIO, options: SourceOptions) -> Source:
    """An image that is piped in, or names of images, one a line, which are looked at as they come."""
    head = picture_of_stream(stream)
    if isinstance(head, Picture):
        return Source([head], total=1, is_single=True)
    pictures = chain.from_iterable(_of_name(name, Path(), options).pictures for name in names_in(head))
    return Source(pictures, has_frames=True)


def _of_several(sources: Sequence[object], options: SourceOptions) -> Source:
    parts = []
    for number, each in enumerate(sources, 1):
        is_given = isinstance(each, (Image.Image, np.ndarray, Tensor))
        name = f"image_{number}"
        parts.append(Source([given_picture(each, name)], total=1) if is_given else _opened(each, options))
    return _joined(parts)


def _joined(parts: Sequence[Source]) -> Source:
    totals = [part.total for part in parts]
    return Source(
        pictures=chain.from_iterable(part.pictures for part in parts),
        total=None if None in totals else sum(total or 0 for total in totals),
        has_frames=any(part.has_frames for part in parts),
        notes=lambda: [note for part in parts for note in part.notes()],
    )


def _of_video(name: str, options: SourceOptions) -> Source:
    from deta.inference.video import Video  # PyAV is an extra

    video = Video(name, every=options.every, max_frames=options.max_frames)
    return Source(video, total=video.total, rate=video.rate, has_frames=True, notes=video.notes)


def _of_camera(number: int, options: SourceOptions) -> Source:
    from deta.inference.camera import Camera  # OpenCV is an extra

    camera = Camera(number, every=options.every, max_frames=options.max_frames)
    return Source(camera, rate=camera.rate, has_frames=True, notes=camera.notes)
