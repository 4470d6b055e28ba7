"""An image to look at: where it is, and how it is read, which happens later and in another thread."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deta.data.images import DecodedImage, ImageRules, decode_image, decoded_image, held_image

_loading = threading.Lock()
"""Pillow loads an image that was opened at its first use, which two threads must not do at once."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that has not been read yet.

    Attributes:
        name: What messages and records call it: path, address, or number.
        stem: Begin of the names of files that are written of it.
        read: Decodes it under rules; raises ``ImageError``.
        path: Its file; None where it is no file of its own.
        frame: Number of the frame in a video, from 0; None for a single image.
        seconds: Time of the frame in the video; None for a single image.
        can_be_read_again: Whether ``read`` gives the same later, too; not where the caller may change the image.
    """

    name: str
    stem: str
    read: Callable[[ImageRules], DecodedImage]
    path: Path | None = None
    frame: int | None = None
    seconds: float | None = None
    can_be_read_again: bool = True


def picture_of_file(path: Path) -> Picture:
    """The image in a file."""
    return Picture(
        name=str(path),
        stem=path.stem,
        read=lambda rules: decode_image(path, name=str(path), rules=rules),
        path=path,
    )


def given_picture(image: object, name: str) -> Picture:
    """An image that the caller holds.

    Args:
        image: Of Pillow; or, copied, an array ``[H, W, 3]`` or ``[H, W]`` of uint8, or a tensor ``[3, H, W]`` of uint8
            or of floating point in 0..1. Channels are red, green, blue.
        name: What messages call it.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(image, Image.Image):
        held = image

        def read(rules: ImageRules) -> DecodedImage:
            with _loading:
                return decoded_image(held, name=name, rules=rules)

        return Picture(name, name, read, can_be_read_again=False)
    pixels = _of_tensor(image, name) if isinstance(image, Tensor) else _of_array(image, name)
    return Picture(name, name, _holding(pixels, name), can_be_read_again=False)


def frame_picture(name: str, stem: str, number: int, pixels: Tensor, seconds: float | None) -> Picture:
    """A frame of a video or camera.

    Args:
        name: Of the video, for messages.
        stem: Of the video, for names of files.
        number: Of the frame, from 0.
        pixels: ``[3, H, W]`` uint8 RGB.
        seconds: Of the frame in the video; None where that is not known.
    """
    frame = f"{name}#{number}"
    return Picture(frame, f"{stem}_{number:06d}", _holding(pixels, frame), frame=number, seconds=seconds)


def forgotten(picture: Picture) -> Picture:
    """A frame without its pixels: those of a whole video are more than a memory holds."""
    name = picture.name

    def read(_: ImageRules) -> DecodedImage:
        raise ValueError(f"{name}: the frames of a video are not kept: look at them as model.stream gives them")

    return replace(picture, read=read)


def _holding(pixels: Tensor, name: str) -> Callable[[ImageRules], DecodedImage]:
    return lambda rules: held_image(pixels, name=name, rules=rules)


def _of_array(image: Any, name: str) -> Tensor:  # noqa: ANN401 - whatever a caller gave
    array: NDArray[Any] = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        advice = "; give list(images) of several" if array.ndim == 4 else ""
        raise ValueError(
            f"{name} must be an array [height, width, 3] of uint8 in the order red, green, blue, got {array.dtype} "
            f"{list(array.shape)}{advice}"
        )
    colours = array if array.ndim == 3 else array[..., None].repeat(3, axis=2)
    return torch.from_numpy(np.array(colours.transpose(2, 0, 1), order="C"))  # [3, H, W]


def _of_tensor(image: Tensor, name: str) -> Tensor:
    is_scaled = image.is_floating_point()
    if image.dim() != 3 or image.shape[0] != 3 or not (is_scaled or image.dtype == torch.uint8):
        advice = "; give list(images) of several" if image.dim() == 4 else ""
        raise ValueError(
            f"{name} must be a tensor [3, height, width] of uint8, or of numbers in 0..1, in the order red, green, "
            f"blue, got {image.dtype} {list(image.shape)}{advice}"
        )
    pixels = image.detach().cpu()
    if not is_scaled:
        return pixels.clone()
    pixels = pixels.float()
    low, high = (float(value) for value in pixels.aminmax()) if pixels.numel() else (0.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"{name} must have numbers in 0..1, got {low:g} to {high:g}: 0..255 are of dtype uint8")
    return (pixels * 255).round().to(torch.uint8)
