"""Frames of video files and streams, by PyAV, as pictures."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from deta.data.decoding import ImageError
from deta.inference.addresses import safe_stem
from deta.inference.newest import DEFAULT_RATE, Newest
from deta.inference.pictures import Picture, frame_picture
from deta.inference.pipeline import Awaited
from deta.utils.wording import counted

if TYPE_CHECKING:
    from av.container import InputContainer

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2",
    *("matroska,webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "mjpeg", "h264", "hevc", "ivf", "m4v"),
)
"""Containers that are opened; playlists, which name other files and hosts, are not among them."""
_STREAM_FORMATS = ("rtsp", "rtp", "sdp", "hls")
"""What a stream may be beside these: the network is what it is for."""
_PROTOCOLS = {"": "file", "http": "http,tcp", "https": "https,http,tls,tcp"}
"""By the scheme of an address, what may be spoken; an address of a stream speaks any."""
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt")
_PLAYLISTS = (".m3u8",)
_LARGEST = 100_000_000
"""Pixels of a frame, unless rules say less."""
_MISSING = 0.05
"""Share of the announced time that may be missing at the end; a second may be missing anyway."""
_SECONDS = 10.0
"""To wait for a stream."""


class Video(Awaited):
    """The frames of a video, to be taken once.

    A stream that goes on while nobody looks (``rtsp://`` and the like) gives its newest frame; those passed over are
    counted.

    Args:
        name: Path or address.
        every: Every so many frames, from 1.
        max_frames: At most so many; None = all.

    Raises:
        ModuleNotFoundError: PyAV is not installed.
        ValueError: It is no video.
        OSError: It cannot be opened.
    """

    def __init__(self, name: str, *, every: int = 1, max_frames: int | None = None) -> None:
        self.name = name
        self._every, self._max_frames = every, max_frames
        scheme = name.partition("://")[0].lower() if re.match(r"\w+://", name) else ""
        self._is_live = scheme in _STREAMS or Path(name.partition("?")[0]).suffix.lower() in _PLAYLISTS
        self._container = _open(name, scheme, is_live=self._is_live)
        if not self._container.streams.video:
            self._container.close()
            raise ValueError(f"source={name} has no pictures: it is no video")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._newest: Newest[Any] | None = None
        self.rate = self._stream.average_rate or DEFAULT_RATE
        self.total = self._length()
        self._announced = self._duration()
        self._seen: float | None = None

    def __iter__(self) -> Iterator[Picture]:
        """The frames; one that cannot be decoded ends the video with an error."""
        stem = safe_stem(Path(self.name.partition("?")[0]).stem)
        frames = self._decoded()
        if self._is_live:
            self._newest = Newest(frames)
            frames = iter(self._newest)
        chosen = islice(enumerate(frames), 0, None, self._every)
        try:
            for number, frame in islice(chosen, self._max_frames):
                seconds = None if frame.time is None else round(frame.time, 6)
                yield frame_picture(self.name, stem, number, _pixels(frame), seconds)
        finally:
            self.stop()

    def stop(self) -> None:
        """Wait for no more frames of a stream."""
        if self._newest is not None:
            self._newest.stop()

    def notes(self) -> list[str]:
        """How many frames of a stream were passed over, and whether a video ends before its time."""
        passed = 0 if self._newest is None else self._newest.num_passed
        lines = [f"{counted(passed, 'frame')} of {self.name} passed over while others were looked at"] if passed else []
        if self._seen is not None and self._announced - self._seen > max(1.0, _MISSING * self._announced):
            lines.append(
                f"the pictures of {self.name} end after {self._seen:.1f} of the {self._announced:.1f} s that it "
                "announces: it may be cut off"
            )
        return lines

    def _decoded(self) -> Iterator[Any]:
        import av

        first = last = None
        try:
            for frame in self._container.decode(self._stream):
                first, last = frame.time if first is None else first, frame.time
                yield frame
            if first is not None and last is not None:
                self._seen = last - first
        except av.FFmpegError as error:
            raise ImageError(f"video {self.name} cannot be decoded further: {error.strerror}") from error
        finally:
            self._container.close()  # in the thread that decodes

    def _duration(self) -> float:
        """Seconds of the pictures as the container announces them; 0 where it does not, as a stream."""
        if self._is_live:
            return 0.0
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return (self._container.duration or 0) / 1_000_000

    def _length(self) -> int | None:
        if self._is_live:
            return self._max_frames
        frames = self._stream.frames  # 0 where the container does not tell
        length = -(-frames // self._every) if frames else None
        return length if self._max_frames is None else min(self._max_frames, length or self._max_frames)


def require_av() -> None:
    """Require PyAV.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        import av  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("videos need PyAV, which is not installed: pip install av (extra video)") from error


def _open(name: str, scheme: str, *, is_live: bool) -> "InputContainer":
    require_av()
    import av

    options = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": _PROTOCOLS.get(scheme, "")}
    if is_live:
        options = {"format_whitelist": ",".join((*_FORMATS, *_STREAM_FORMATS))}
        options |= {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
    try:
        # A name with a colon would be taken for an address.
        file = name if scheme else str(Path(name).absolute())
        container = av.open(file, options=options, timeout=_SECONDS if scheme else None)
    except av.FFmpegError as error:
        raise ValueError(f"source={name} cannot be opened as a video: {error.strerror}") from error
    for stream in container.streams.video:
        stream.codec_context.options = {"max_pixels": str(_LARGEST)}
    return container


def _pixels(frame: Any) -> Tensor:  # noqa: ANN401 - of PyAV
    """``[3, H, W]`` uint8 RGB, upright."""
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)  # [3, H, W]
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # degrees against the clock
    return torch.rot90(pixels, turns, dims=(1, 2)).contiguous()
