"""Frames of a camera at this machine, by OpenCV, which knows the cameras of every system."""

import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import torch

from deta.inference.newest import DEFAULT_RATE, Newest
from deta.inference.pictures import Picture, frame_picture
from deta.inference.pipeline import Awaited
from deta.utils.wording import counted


class Camera(Awaited):
    """The newest frames of a camera, to be taken once, until the program is stopped.

    Args:
        number: Of the camera, from 0.
        every: Every so many frames, from 1.
        max_frames: At most so many; None = endless.

    Raises:
        ModuleNotFoundError: OpenCV is not installed.
        OSError: There is no such camera.
    """

    def __init__(self, number: int, *, every: int = 1, max_frames: int | None = None) -> None:
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "cameras need OpenCV, which is not installed: pip install opencv-python-headless (extra video)"
            ) from error
        self._number, self._every, self._max_frames = number, every, max_frames
        self._capture: Any = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise OSError(f"source={number}: there is no camera of this number, nor a file of this name")
        told = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(round(told * 1000), 1000) if told and told > 0 else DEFAULT_RATE
        self._newest = Newest(self._frames())

    def __iter__(self) -> Iterator[Picture]:
        """The frames, counted from 0."""
        start = time.monotonic()
        chosen = islice(enumerate(self._newest), 0, None, self._every)
        try:
            for number, pixels in islice(chosen, self._max_frames):
                yield self._picture(number, pixels, time.monotonic() - start)
        finally:
            self.stop()

    def stop(self) -> None:
        """Wait for no more frames."""
        self._newest.stop()

    def notes(self) -> list[str]:
        """How many frames were passed over."""
        passed = self._newest.num_passed
        return [f"{counted(passed, 'frame')} passed over while others were looked at"] if passed else []

    def _frames(self) -> Iterator[Any]:
        try:
            while True:
                is_read, frame = self._capture.read()
                if not is_read:
                    return
                yield frame
        finally:
            self._capture.release()

    def _picture(self, number: int, pixels: Any, seconds: float) -> Picture:  # noqa: ANN401 - of OpenCV
        # OpenCV has blue first.
        rgb = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1)))  # [3, H, W]
        return frame_picture(f"camera {self._number}", f"camera{self._number}", number, rgb, round(seconds, 3))
