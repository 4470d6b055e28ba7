"""Image files to pixels as they were stored, by Pillow's decoders, whatever the file holds."""

import errno
import functools
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from deta.utils.files import named

# fmt: off
FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "BLP", "CUR", "DCX", "DDS", "DIB", "FITS",
    "FLI", "FTEX", "GBR", "ICNS", "ICO", "IM", "IMT", "MCIDAS", "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI",
    "SPIDER", "SUN", "TGA", "XBM", "XPM", "XVTHUMB",
)
# fmt: on
"""What is read, by Pillow's names, tried in this order: all that Pillow 13 decodes by itself.

Left out are EPS, which starts Ghostscript, IPTC, which opens whatever lies in it, EPS included, and formats that Pillow
recognises without a decoder of its own (BUFR, GRIB, HDF5, MPEG, WMF).
"""
DECODER_FAILURES = (
    OSError,  # what most decoders report: unknown, truncated, unreadable
    EOFError,
    SyntaxError,  # what Pillow raises where the structure of a file is broken
    ValueError,
    struct.error,
    zlib.error,
    RuntimeError,  # the libraries of AVIF and WebP; NotImplementedError of DDS and BLP
    AttributeError,  # the others: Python decoders on values that they take unchecked out of the file
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    MemoryError,  # of a part inside, larger than any memory
)
"""How Pillow's decoders end on a broken or hostile file. They are caught around calls of Pillow alone."""
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Failures to open a file that say nothing of the file."""


class ImageError(ValueError):
    """An image file that cannot be used; the message names the file."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """Pixels as a decoder gives them.

    Attributes:
        image: The first frame.
        orientation: 2..8 as EXIF numbers them, 1 for none.
        is_upright: Whether the decoder has applied the orientation, which Pillow does for TIFF.
        has_transparency: Whether it has.
    """

    image: Image.Image
    orientation: int
    is_upright: bool
    has_transparency: bool


def load_image(file: Path | BinaryIO, *, name: str, max_pixels: int) -> LoadedImage:
    """Decode the first frame of an image, see ``decode_image``.

    Raises:
        ImageError: It cannot be decoded, or has more than ``max_pixels``.
        OSError: The system has no memory or handle left to open it.
    """
    with _opened(file, name, max_pixels) as image:
        return loaded_image(image, name=name, max_pixels=max_pixels)


@contextmanager
def _opened(file: Path | BinaryIO, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose pixels are not decoded yet; what decoders raise becomes an ``ImageError`` that names it."""
    # Pillow has one limit for the process. It is asked for inner parts of a file too, so it is set, not lifted.
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        if isinstance(file, Path) and not stat.S_ISREG(file.stat().st_mode):
            raise ImageError(f"image {name} is a folder or device, not a file")  # opening a pipe would wait for ever
        # Of a file that Pillow opens itself it maps uncompressed pixels, which mixes up those of a turned TIFF (13.0).
        opened = file.open("rb") if isinstance(file, Path) else nullcontext(file)
        with opened as content, Image.open(content, formats=_formats()) as image:
            yield image
    except ImageError:
        raise
    except _BOMBS as error:
        number = re.search(r"\d+", str(error))  # the first is the size of the image
        raise _too_large(name, None if number is None else int(number[0]), max_pixels) from error
    except FileNotFoundError as error:
        raise ImageError(f"image {name} does not exist") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"image {name} cannot be decoded: it is of no format that is read, such as JPEG or PNG"
        ) from error
    except DECODER_FAILURES as error:
        if isinstance(error, OSError) and error.errno in _OUT_OF_RESOURCES:
            raise named(error, Path(name)) from error
        raise undecodable(name, error) from error


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """Size of an image file in both frames that it has.

    Attributes:
        stored: ``(height, width)`` in pixels as the file holds them.
        upright: The same once its EXIF orientation is applied.
    """

    stored: tuple[int, int]
    upright: tuple[int, int]


def read_sizes(file: Path | BinaryIO, *, name: str, max_pixels: int) -> ImageSizes:
    """The size of an image by the begin of its file; the pixels may be broken.

    Raises:
        ImageError: It is no image, or has more than ``max_pixels``.
        OSError: The system has no memory or handle left to open it.
    """
    with _opened(file, name, max_pixels) as image:
        require_pixels(image.width * image.height, name, max_pixels)
        size = (image.height, image.width)
        return ImageSizes(size, size[::-1] if _orientation(image) >= 5 else size)


def loaded_image(image: Image.Image, *, name: str, max_pixels: int) -> LoadedImage:
    """Load the first frame of an image that is open.

    Raises:
        ImageError: It has more than ``max_pixels``.
    """
    require_pixels(image.width * image.height, name, max_pixels)
    before = _orientation(image) if image.format == "TIFF" else 1  # which loading applies and forgets
    image.load()
    after = _orientation(image)
    return LoadedImage(image, max(before, after), before > after, image.has_transparency_data)


def require_pixels(number: int, name: str, max_pixels: int) -> None:
    """Raise ``ImageError`` for an image with more than ``max_pixels``."""
    if number > max_pixels:
        raise _too_large(name, number, max_pixels)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that the installed Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_image(path: Path) -> bool:
    """Whether the beginning of a file is that of an image in one of ``FORMATS``; the pixels may be broken."""
    try:
        with Image.open(path, formats=_formats()):
            return True
    except _BOMBS:
        return True
    except DECODER_FAILURES:
        return False


def _too_large(name: str, num_pixels: int | None, max_pixels: int) -> ImageError:
    return ImageError(
        f"image {name} has {'too many' if num_pixels is None else num_pixels} pixels, at most {max_pixels} are "
        "accepted: if it is honest and the memory suffices, raise max_image_pixels (of a data set "
        "data.max_image_pixels)"
    )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_FAILURES:
        return 1  # of a damaged EXIF block, which no program can apply; the pixels are whole
    return int(value) if value in range(2, 9) else 1


def undecodable(name: str, error: Exception) -> ImageError:
    """What is said of an image on which a decoder failed."""
    return ImageError(f"image {name} cannot be decoded: {str(error) or type(error).__name__}")
