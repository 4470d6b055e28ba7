"""Videos, streams and cameras, all of them made here."""

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from deta.inference import SourceOptions, open_source
from deta.inference.newest import Newest
from deta.inference.outputs import DrawnVideo
from tests.inference.simple import predictor

av = pytest.importorskip("av", reason="PyAV, extra video, is not installed")


def video(path: Path, *, frames: int = 6, rate: int = 10, form: str | None = None) -> Path:
    """Write a video whose frames become brighter."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), 40 * (number % 6), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_frames_of_a_video_come_in_order_with_their_time(tmp_path: Path) -> None:
    found = open_source(video(tmp_path / "clip.mp4"))
    assert (found.total, found.rate, found.is_single) == (6, Fraction(10), False)
    results = list(predictor().stream(found.pictures, min_score=0))
    assert [result.picture.frame for result in results] == list(range(6))
    assert [result.picture.seconds for result in results] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    brightness = [result.pixels().float().mean().item() for result in results]
    assert brightness == pytest.approx([0, 40, 80, 120, 160, 200], abs=6)
    assert results[2].name == f"{tmp_path}/clip.mp4#2"


def test_every_second_frame_and_no_more_than_asked_for(tmp_path: Path) -> None:
    found = open_source(video(tmp_path / "clip.mp4"), SourceOptions(every=2, max_frames=2))
    assert found.total == 2
    assert [picture.frame for picture in found.pictures] == [0, 2]


@pytest.mark.parametrize("every", [1, 2])
def test_an_annotated_video_has_every_frame_that_was_looked_at_at_its_time(tmp_path: Path, every: int) -> None:
    found = open_source(video(tmp_path / "clip.mp4"), SourceOptions(every=every))
    assert found.rate is not None
    output = DrawnVideo(tmp_path, rate=found.rate)
    for number, result in enumerate(predictor().stream(found.pictures), 1):
        output.add(result, number)
    assert not (tmp_path / "video.mp4").exists()
    assert output.close() == f"{6 // every} annotated frames: {tmp_path}/video.mp4"
    with av.open(str(tmp_path / "video.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert times == pytest.approx([0.1 * every * k for k in range(6 // every)])
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", "video.mp4"}


@pytest.mark.parametrize(
    "content",
    [b"nothing", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n", b"ffconcat version 1.0\nfile {clip}\n"],
)
def test_no_video_and_playlists_that_name_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    clip = video(tmp_path / "clip.ts")
    (tmp_path / "list.mp4").write_bytes(content.replace(b"{clip}", str(clip).encode()))
    with pytest.raises(ValueError, match=r"source=.*list.mp4 cannot be opened as a video"):
        open_source(tmp_path / "list.mp4")


def test_a_video_that_ends_before_its_time_is_told(tmp_path: Path) -> None:
    whole, cut = video(tmp_path / "whole.mkv", frames=60), tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for path, told in ((whole, ""), (cut, "s that it announces: it may be cut off")):
        found = open_source(path)
        assert len(list(found.pictures)) > 0
        assert told in " ".join(found.notes())
        assert bool(found.notes()) == bool(told)


def test_a_video_without_its_end_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:-800])  # with it the table of its frames
    with pytest.raises(ValueError, match=r"clip\.mp4 (has no pictures|cannot be opened)"):
        open_source(path)


def test_a_video_without_the_package_says_what_to_install(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.mp4")
    with (
        mock.patch.dict(sys.modules, {"av": None}),
        pytest.raises(ModuleNotFoundError, match=r"videos need PyAV, .*: pip install av \(extra video\)"),
    ):
        open_source(path)


class Camera:
    """OpenCV's camera, with three frames of pure blue."""

    def __init__(self, number: int) -> None:
        self._left = 3 if number == 0 else -1

    def isOpened(self) -> bool:  # noqa: N802
        return self._left >= 0

    def get(self, name: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        return self._left >= 0, np.broadcast_to(np.array([255, 0, 0], np.uint8), (20, 40, 3))

    def release(self) -> None:
        pass


def test_a_camera_gives_frames_with_red_first() -> None:
    module = SimpleNamespace(VideoCapture=Camera, CAP_PROP_FPS=5)
    with mock.patch.dict(sys.modules, {"cv2": module}):
        found = open_source("0", SourceOptions(max_frames=1))
        assert found.rate == 30
        (result,) = predictor().stream(found.pictures, min_score=0)
        assert result.pixels()[:, 0, 0].tolist() == [0, 0, 255]
        with pytest.raises(OSError, match="source=7: there is no camera of this number, nor a file of this name"):
            open_source(7)


def test_of_what_comes_too_fast_the_newest_is_taken_and_the_rest_counted() -> None:
    over = threading.Event()

    def items() -> Iterator[Any]:
        yield from range(5)
        over.set()

    newest = Newest(items())
    taken = iter(newest)
    first = next(taken)
    over.wait(5)
    rest = list(taken)
    assert [first, *rest] == sorted({first, 4})
    assert newest.num_passed == 5 - len({first, 4})


def serve_rtsp(listener: socket.socket, content: bytes) -> None:
    """Answer one client: a transport stream in RTP packets inside of the connection."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):  # the client may leave when it has seen enough
        stream = connection.makefile("rb")
        while True:
            lines = []
            while (line := stream.readline().decode()) not in ("\r\n", ""):
                lines.append(line.strip())
            if not lines:
                return
            method, number = lines[0].split()[0], next(line for line in lines if line.startswith("CSeq"))
            head, body = ["RTSP/1.0 200 OK", number], ""
            if method == "OPTIONS":
                head.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
            elif method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:one\r\n"
                head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
            elif method == "PLAY":
                head.append("Session: 1")
            connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                for index, start in enumerate(range(0, len(content), 7 * 188)):
                    packet = struct.pack("!BBHII", 0x80, 33, index, index * 900, 1) + content[start : start + 7 * 188]
                    connection.sendall(b"$\0" + struct.pack("!H", len(packet)) + packet)


def test_a_stream_gives_frames_until_it_ends(tmp_path: Path) -> None:
    content = video(tmp_path / "clip.ts", frames=60, form="mpegts").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_rtsp, args=(listener, content), daemon=True).start()
        found = open_source(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/x", SourceOptions(max_frames=2))
        results = list(predictor().stream(found.pictures))
    assert [result.size for result in results] == [(48, 64)] * 2
    assert results[0].picture.frame == 0


def test_nobody_at_an_address_is_one_message() -> None:
    with pytest.raises(ValueError, match=r"127.0.0.1:9/x cannot be opened as a video: Connection refused"):
        open_source("rtsp://127.0.0.1:9/x")
