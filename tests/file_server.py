"""A web server on this machine with one file and the faults that servers and connections have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["FileServer", "serving"]


@dataclass
class FileServer:
    """What is served, how badly, and what was asked for and sent."""

    content: bytes
    address: str = ""
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True
    honours_if_range: bool = True
    status: int = 200
    content_type: str = "application/octet-stream"
    stated_length: int | None = None
    """For Content-Length where that is not the truth; -1 states none."""
    location: str = ""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes of the file each answer, one after the other, is cut off."""
    stall: threading.Event | None = None
    """Waited for after half of the body was sent."""
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies."""

    @property
    def url(self) -> str:
        return f"{self.address}/files/weights.pkl"


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A server for one file on a free port of 127.0.0.1."""
    state = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append({"path": self.path, **dict(self.headers.items())})
            if state.location and self.path == "/files/weights.pkl":
                self.send_response(302)
                self.send_header("Location", state.location)
                self.end_headers()
            elif state.status != 200:
                self.send_error(state.status)
            else:
                self._send_file()

        def _send_file(self) -> None:
            start = self._start()
            if start >= len(state.content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", state.content_type)
            if state.etag:
                self.send_header("ETag", state.etag)
            if state.modified:
                self.send_header("Last-Modified", state.modified)
            total = len(state.content) if state.stated_length is None else state.stated_length
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if total >= 0:
                self.send_header("Content-Length", str(total - start))
            self.end_headers()
            if state.cuts:
                body = body[: max(state.cuts.pop(0) - start, 0)]
            if state.stall is not None:
                half, body = body[: len(body) // 2], body[len(body) // 2 :]
                state.sent += len(half)
                self.wfile.write(half)
                state.stall.wait(20)
            state.sent += len(body)
            self.wfile.write(body)

        def _start(self) -> int:
            asked = self.headers.get("Range", "")
            condition = self.headers.get("If-Range")
            held = condition in (None, state.etag, state.modified) or not state.honours_if_range
            if not (state.ranges and held and asked):
                return 0
            return int(asked.removeprefix("bytes=").removesuffix("-"))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        if state.stall is not None:
            state.stall.set()
        server.shutdown()
        thread.join()
        server.server_close()
