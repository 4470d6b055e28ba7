"""Annotated copies: pictures of images, a video of a video."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deta.drawing.boxes import from_pil, save_picture
from deta.inference.outputs.base import Output, Stems
from deta.inference.results import Result
from deta.utils.files import UNFINISHED
from deta.utils.wording import counted

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

_CODECS = ("libx264", "mpeg4")
"""The first that PyAV has."""


class DrawnPictures(Output):
    """``pictures/<image>.jpg`` of every image with a detection; one without would be a mere copy."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._pictures = folder / "pictures"
        self._stems, self._num_files, self._num_empty = Stems(), 0, 0

    def add(self, result: Result, number: int) -> None:
        """See ``Output``."""
        stem = self._stems.of(result, number)
        if not len(result):
            self._num_empty += 1
            return
        self._pictures.mkdir(exist_ok=True)
        save_picture(from_pil(result.draw()), self._pictures / f"{stem}.jpg")
        self._num_files += 1

    def close(self) -> str:
        """See ``Output``."""
        without = f"; none of {counted(self._num_empty, 'image')} without a detection" if self._num_empty else ""
        return f"{counted(self._num_files, 'annotated picture')}: {self._pictures}{without}" if self._num_files else ""


class DrawnVideo(Output):
    """``video.mp4`` with every frame that was looked at.

    Args:
        folder: An existing one.
        rate: Frames a second.
    """

    def __init__(self, folder: Path, *, rate: Fraction) -> None:
        super().__init__(folder)
        self.path = folder / "video.mp4"
        self._rate = rate
        self._unfinished = folder / f"video{UNFINISHED}.mp4"
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._num_frames = 0

    def add(self, result: Result, number: int) -> None:
        """See ``Output``."""
        import av

        image = result.draw()
        if self._container is None:
            self._container = av.open(str(self._unfinished), "w")
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
        self._container.mux(self._stream.encode(frame))
        self._num_frames += 1

    def close(self) -> str:
        """See ``Output``."""
        if self._container is None or self._stream is None:
            return ""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._unfinished.replace(self.path)
        return f"{counted(self._num_frames, 'annotated frame')}: {self.path}"
