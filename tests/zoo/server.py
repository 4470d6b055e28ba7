"""A server of files on this machine that resumes, breaks off and forgets as told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Served:
    """What the server has, how it behaves, and what it was asked.

    Attributes:
        url: Its address.
        files: Path to content.
        tags: Path to what names the state of the content; without one a file cannot be resumed.
        kinds: Path to the type of the content.
        breaks: After so many bytes the next answers end, one each.
        asked: Path and first byte of every request.
        is_heedless: Whether a part is sent from the first byte on, whatever was asked for.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    asked: list[tuple[str, int]] = field(default_factory=list)
    is_heedless: bool = False


@contextmanager
def served(**files: bytes) -> Iterator[Served]:
    """A running server of files, ``name=content`` with ``_`` for the dot, each with a tag."""
    state = Served(files={f"/{name.replace('_', '.')}": content for name, content in files.items()})
    state.tags = {path: f'"{len(content)}"' for path, content in state.files.items()}
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state)) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _handler(state: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content, tag = state.files.get(self.path), state.tags.get(self.path)
            wanted = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            start = wanted if tag is not None and self.headers.get("If-Range") == tag else 0
            state.asked.append((self.path, start))
            if content is None:
                self.send_error(404)
                return
            if start >= len(content) > 0:
                self.send_error(416)
                return
            code, start = 206 if start else 200, 0 if state.is_heedless else start
            self.send_response(code)
            self.send_header("Content-Length", str(len(content) - start))
            if code == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Type", state.kinds.get(self.path, "application/octet-stream"))
            if tag is not None:
                self.send_header("ETag", tag)
            self.end_headers()
            end = start + state.breaks.pop(0) if state.breaks else len(content)
            self.wfile.write(content[start:end])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    return Handler
