"""Annotated copies: pictures of images, a video of a video."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deta.drawing.boxes import from_pil, save_picture
from deta.inference.outputs.base import Output, Stems
from deta.inference.results import Result
from deta.utils.files import replacing
from deta.utils.wording import counted

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_CODECS = ("libx264", "mpeg4")
"""The first that PyAV has."""


class DrawnPictures(Output):
    """``pictures/<image>.jpg`` of every image with a detection; one without would be a mere copy."""

    subfolder = "pictures"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pictures = folder / self.subfolder
        self._stems, self._num_files, self._num_empty = Stems(), 0, 0

    def add(self, result: Result, number: int) -> None:
        """Draw the boxes, if there are any."""
        stem = self._stems.of(result, number)
        if not len(result):
            self._num_empty += 1
            return
        self._pictures.mkdir(exist_ok=True)
        save_picture(from_pil(result.draw()), self._pictures / f"{stem}.jpg")
        self._num_files += 1

    def close(self) -> str:
        """How many pictures, where, and how many images had none."""
        without = f"; none of {counted(self._num_empty, 'image')} without a detection" if self._num_empty else ""
        return f"{counted(self._num_files, 'annotated picture')}: {self._pictures}{without}" if self._num_files else ""


class DrawnVideo(Output):
    """``video.mp4`` with every frame that was looked at, each at its time.

    Args:
        folder: An existing one.
        rate: Frames a second of the source, more than which there are not.
    """

    def __init__(self, folder: Path, *, rate: Fraction) -> None:
        super().__init__(folder)
        self.path = folder / "video.mp4"
        self._rate = rate
        self._stack = ExitStack()
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._start: float | None = None
        self._last = -1
        self._num_frames = 0

    def add(self, result: Result, number: int) -> None:
        """Draw and encode; the first frame decides the size of the video."""
        import av

        image = result.draw()
        if self._container is None:
            unfinished = self._stack.enter_context(replacing(self.path))
            self._container = self._stack.enter_context(av.open(str(unfinished), "w", format="mp4"))
            codec = next(name for name in _CODECS if name in av.codecs_available)
            stream: VideoStream = cast(Any, self._container).add_stream(codec, rate=self._rate)
            # Encoders of this colour format need even sides.
            stream.width, stream.height = image.width // 2 * 2, image.height // 2 * 2
            stream.pix_fmt = "yuv420p"
            self._stream = stream
        assert self._stream is not None
        if image.size != (self._stream.width, self._stream.height):
            image = image.resize((self._stream.width, self._stream.height))
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        frame.time_base, frame.pts = 1 / self._rate, self._place(result.picture.seconds)
        self._container.mux(self._stream.encode(frame))
        self._num_frames += 1

    def close(self) -> str:
        """End the video; how many frames, and where."""
        if self._container is None or self._stream is None:
            return ""
        with self._stack:
            self._container.mux(self._stream.encode(None))
        return f"{counted(self._num_frames, 'annotated frame')}: {self.path}"

    def _place(self, seconds: float | None) -> int:
        """Number of the frame at this time, counted by ``rate`` from the first one; times must rise."""
        if self._start is None:
            self._start = seconds
        at = None if seconds is None or self._start is None else round((seconds - self._start) * self._rate)
        self._last = self._last + 1 if at is None else max(at, self._last + 1)
        return self._last
