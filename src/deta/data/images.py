"""Image files to uint8 RGB tensors, without silent surprises."""

import functools
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises on broken, foreign and oversized files."""
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_UNSUPPORTED_MODES = ("I", "F")


class ImageError(ValueError):
    """An image file that cannot be used; the message names the file."""


def read_image(
    path: Path, *, expected_size: tuple[int, int] | None = None, min_side: int = 8, scale_16bit: bool = False
) -> Tensor:
    """Decode an image file to RGB; everything is as in ``decode_image``."""
    return decode_image(path, name=str(path), expected_size=expected_size, min_side=min_side, scale_16bit=scale_16bit)


def decode_image(
    file: Path | BinaryIO,
    *,
    name: str,
    expected_size: tuple[int, int] | None = None,
    min_side: int = 8,
    scale_16bit: bool = False,
) -> Tensor:
    """Decode an image to RGB.

    EXIF orientation: with ``expected_size`` it is applied or ignored by which of the two gives that size
    (ignored if both do, as COCO's own tools read images); without, it is applied.

    Args:
        file: Path or content, in any format that Pillow reads, whatever the suffix; of several frames the first
            is taken.
        name: What messages call it.
        expected_size: ``(height, width)`` which the annotation file claims, in pixels.
        min_side: Smallest side accepted, in pixels.
        scale_16bit: Map 16-bit grey values to 8 bits (divided by 257) instead of refusing them. Of 16-bit colours
            Pillow gives the upper 8 bits.

    Returns:
        ``[3, h, w]`` uint8. Transparency is dropped, with one warning per process.

    Raises:
        ImageError: If the file is missing, broken, not an image, too large to be honest, of unsupported
            depth, smaller than ``min_side``, or of another size than expected.
    """
    try:
        with Image.open(file) as image:
            image.load()
            oriented = _orient(image, name, expected_size)
            rgb = _to_rgb(oriented, name, scale_16bit=scale_16bit)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"image {name} does not exist") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"image {name} cannot be decoded: {error}") from error
    if min(rgb.size) < min_side:
        raise ImageError(
            f"image {name} is {rgb.height} x {rgb.width} pixels (height x width), "
            f"the smallest side accepted is {min_side}"
        )
    tensor: Tensor = F.pil_to_tensor(rgb)
    return tensor


def _orient(image: Image.Image, name: str, expected_size: tuple[int, int] | None) -> Image.Image:
    if expected_size == (image.height, image.width):
        return image
    oriented = ImageOps.exif_transpose(image)
    if expected_size in (None, (oriented.height, oriented.width)):
        return oriented
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    raise ImageError(
        f"image {name} is {image.height} x {image.width} pixels (height x width, EXIF orientation "
        f"{orientation}), the annotation file says {expected_size[0]} x {expected_size[1]}; correct it there"
    )


def _to_rgb(image: Image.Image, name: str, *, scale_16bit: bool) -> Image.Image:
    if image.mode in _DEEP_MODES and scale_16bit:
        grey = np.rint(np.asarray(image).astype(np.float32) / 257).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in _DEEP_MODES:
        raise ImageError(
            f"image {name} has 16 bits per pixel; convert it to 8 bits or set scale_16bit=true "
            "(in a data set data.scale_16bit=true)"
        )
    if image.mode in _UNSUPPORTED_MODES:
        raise ImageError(f"image {name} has 32 bits per pixel (mode {image.mode}); convert it to 8 bits")
    if image.has_transparency_data:
        _warn_about_alpha()
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


@functools.cache
def _warn_about_alpha() -> None:
    warnings.warn(
        "an image has an alpha channel, which is dropped; the data check lists such images",
        UserWarning,
        stacklevel=2,
    )
