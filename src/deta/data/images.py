"""Image files to uint8 RGB tensors, without silent surprises."""

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F  # noqa: N812

from deta.data.decoding import (
    DECODER_FAILURES,
    ImageError,
    LoadedImage,
    load_image,
    loaded_image,
    require_pixels,
    undecodable,
)
from deta.utils.checks import require_bool, require_choice, require_int

EXIF_CHOICES = ("auto", "apply", "ignore")
Orientation = Literal["none", "applied", "ignored", "undecided"]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_UNSUPPORTED_MODES = ("I", "F")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""From the stored to the upright image, by EXIF orientation."""
_TURNS_BACK = {**_TURNS, 6: _TURNS[8], 8: _TURNS[6]}


@dataclass(frozen=True, kw_only=True)
class ImageRules:
    """Which images are accepted and how they are read, the same in every command.

    Attributes:
        min_side: Smallest side, in pixels.
        max_pixels: Most pixels, which bounds the memory that an image takes: reading one takes about 12 bytes for each.
        scale_16bit: Map 16-bit grey values to 8 bits (divided by 257) instead of refusing them. Of 16-bit colours
            Pillow gives the upper 8 bits.
        exif: What an EXIF orientation does: ``apply`` turns the image upright, ``ignore`` takes it as it is stored,
            and ``auto`` does what gives the size in the annotation file (ignores it if both do, as COCO's own tools
            read images), and applies it without annotations.
    """

    min_side: int = 8
    max_pixels: int = 100_000_000
    scale_16bit: bool = False
    exif: str = "auto"

    def __post_init__(self) -> None:
        require_int("min_image_side", self.min_side, low=1)
        require_int("max_image_pixels", self.max_pixels, low=1)
        require_bool("scale_16bit", self.scale_16bit)
        require_choice("exif", self.exif, EXIF_CHOICES)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image, and what reading it silently settled.

    Attributes:
        pixels: ``[3, h, w]`` uint8 RGB.
        mode: Of the file, by Pillow's names.
        has_transparency: Whether transparency was dropped.
        orientation: What became of its EXIF orientation: ``undecided`` is ignored by ``auto`` although the annotated
            size fits the turned image as well.
    """

    pixels: Tensor
    mode: str
    has_transparency: bool
    orientation: Orientation


def read_image(path: Path, *, expected_size: tuple[int, int] | None = None, rules: ImageRules | None = None) -> Tensor:
    """The pixels of an image file, ``[3, h, w]`` uint8; everything is as in ``decode_image``."""
    return decode_image(path, name=str(path), expected_size=expected_size, rules=rules).pixels


def decode_image(
    file: Path | BinaryIO,
    *,
    name: str,
    expected_size: tuple[int, int] | None = None,
    rules: ImageRules | None = None,
) -> DecodedImage:
    """Decode an image to RGB.

    Args:
        file: Path or content, in any of ``FORMATS``, whatever the suffix; of several frames the first is taken.
        name: What messages call it.
        expected_size: ``(height, width)`` which the annotation file claims, in pixels.
        rules: What is accepted and how it is read; None is the defaults.

    Raises:
        ImageError: If the file is missing, broken, not an image, too large, of unsupported depth, or of another size
            than expected. Transparency is dropped, with one warning per process.
        OSError: If the system has no memory or handle left to open it.
    """
    rules = rules or ImageRules()
    return _settled(load_image(file, name=name, max_pixels=rules.max_pixels), name, expected_size, rules)


def decoded_image(image: Image.Image, *, name: str, rules: ImageRules) -> DecodedImage:
    """An image that Pillow holds already, under the same rules as that of a file.

    Args:
        image: Loaded or not; not changed.
        name: What messages call it.
        rules: What is accepted and how it is read.

    Raises:
        ImageError: As ``decode_image``.
    """
    try:
        loaded = loaded_image(image, name=name, max_pixels=rules.max_pixels)
    except ImageError:
        raise
    except DECODER_FAILURES as error:  # of a file that is read only here
        raise undecodable(name, error) from error
    return _settled(loaded, name, None, rules)


def held_image(pixels: Tensor, *, name: str, rules: ImageRules) -> DecodedImage:
    """An image that is decoded already, under the same rules for its size as that of a file.

    Args:
        pixels: ``[3, h, w]`` uint8 RGB.
        name: What messages call it.
        rules: What is accepted.

    Raises:
        ImageError: It is too small or too large.
    """
    height, width = pixels.shape[1:]
    require_pixels(height * width, name, rules.max_pixels)
    _require_side((height, width), name, rules)
    return DecodedImage(pixels, "RGB", has_transparency=False, orientation="none")


def _require_side(size: tuple[int, int], name: str, rules: ImageRules) -> None:
    if min(size) < rules.min_side:
        raise ImageError(
            f"image {name} is {size[0]} x {size[1]} pixels (height x width), "
            f"the smallest side accepted is {rules.min_side}"
        )


def _settled(loaded: LoadedImage, name: str, expected_size: tuple[int, int] | None, rules: ImageRules) -> DecodedImage:
    image, orientation = _oriented(loaded, name, expected_size, rules.exif)
    rgb = _to_rgb(image, name, has_transparency=loaded.has_transparency, scale_16bit=rules.scale_16bit)
    _require_side((rgb.height, rgb.width), name, rules)
    return DecodedImage(F.pil_to_tensor(rgb), image.mode, loaded.has_transparency, orientation)


def _oriented(
    loaded: LoadedImage, name: str, expected_size: tuple[int, int] | None, exif: str
) -> tuple[Image.Image, Orientation]:
    """The image in the frame that is asked for."""
    image, number = loaded.image, loaded.orientation
    size = (image.height, image.width)
    turned = size[::-1] if number >= 5 else size
    stored, upright = (turned, size) if loaded.is_upright else (size, turned)
    fitting = {"auto": (stored, upright), "apply": (upright,), "ignore": (stored,)}[exif]
    if expected_size is not None and expected_size not in fitting:
        rule = "" if exif == "auto" or number == 1 else f", exif={exif}"
        raise ImageError(
            f"image {name} is {stored[0]} x {stored[1]} pixels (height x width, EXIF orientation {number}{rule}), "
            f"the annotation file says {expected_size[0]} x {expected_size[1]}; correct it there"
        )
    if number == 1:
        return image, "none"
    is_applied = exif == "apply" or (exif == "auto" and expected_size != stored)
    if is_applied != loaded.is_upright:
        image = image.transpose((_TURNS if is_applied else _TURNS_BACK)[number])
    if is_applied:
        return image, "applied"
    return image, "undecided" if exif == "auto" and stored == upright else "ignored"


def _to_rgb(image: Image.Image, name: str, *, has_transparency: bool, scale_16bit: bool) -> Image.Image:
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
    if image.mode == "RGB" and not has_transparency:
        return image
    if has_transparency:
        _warn_about_alpha()
    try:
        return (image.convert("RGBA") if has_transparency else image).convert("RGB")
    except DECODER_FAILURES as error:  # such as a broken palette
        raise undecodable(name, error) from error


@functools.cache
def _warn_about_alpha() -> None:
    warnings.warn(
        "an image has an alpha channel, which is dropped; the data check lists such images",
        UserWarning,
        stacklevel=2,
    )
