"""Files from the web, whole and as promised or not at all.

A download goes to ``NAME.part`` beside its destination and takes its name when size and sha256 are
right. What was received survives anything that stops it, and the next call goes on from there
unless the server's file has changed. Only https is spoken, except with this machine itself.
"""

from __future__ import annotations

import http.client
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from email.message import Message
from pathlib import Path

from ._http import BrokenConnectionError, OutdatedPartError, count_of, is_private, open_url
from .errors import CheckpointError, InputError, OutputError
from .files import file_sha256, foreign_content, output_folder, unwritable

__all__ = ["Downloaded", "Progress", "download", "part_of"]

Progress = Callable[[int, int | None], None]
"""Called as ``progress(received, total)``; total is None where nobody states it."""

_CHUNK = 1 << 16
_PAUSES = (0.5, 2.0, 5.0)
_RESUME = "the same command goes on where this stopped"


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What :func:`download` left at its destination."""

    path: Path
    sha256: str
    bytes: int
    resumed_at: int
    """Bytes that earlier calls had received and that were not fetched again."""


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress = lambda received, total: None,
    timeout: float = 30.0,
    pauses: tuple[float, ...] = _PAUSES,
) -> Downloaded:
    """The file at ``url``, at ``destination``, which appears only when it is whole.

    A connection that breaks is tried again; one that stays broken, and Ctrl-C, leave the part.
    Callers who may run at the same time have to hold a lock for the destination.

    Args:
        url: https, also after every redirect; http is for this machine itself.
        destination: where; its folder is made if need be.
        sha256: of the file, where known; another one leaves nothing behind.
        size: of the file in bytes, where known.
        progress: called after every piece.
        timeout: seconds without an answer or a byte after which a connection counts as broken.
        pauses: seconds to wait before each attempt that follows one without a new byte.

    Raises:
        InputError: the address is not https.
        CheckpointError: the server cannot be reached or refuses, or gives something else: a web
            page, a Git-LFS pointer, another size or sha256.
        OutputError: it cannot be written, or there is no space for it.
    """
    if not is_private(url):
        raise InputError(f"address {url}", expected="https://...", got=url.partition(":")[0])
    output_folder(destination.parent)
    part = _Part(part_of(destination), url, sha256, size)
    furthest = held = part.size
    idle = 0
    while not part.whole:
        try:
            _receive(part, progress, timeout)
        except BrokenConnectionError as error:
            # A server that cannot resume starts over; only bytes never had before are progress.
            idle = 0 if part.size > furthest else idle + 1
            furthest = max(furthest, part.size)
            if idle > len(pauses) or (error.unreachable and furthest == held):
                raise _stopped(part, error) from error
            time.sleep(pauses[max(idle - 1, 0)] if pauses else 0)
    return part.finish(destination)


def part_of(destination: Path) -> Path:
    """Where a download to ``destination`` keeps what it has received so far."""
    return destination.with_name(f"{destination.name}.part")


@dataclass(frozen=True, slots=True)
class _Version:
    """Which file of the server a part belongs to."""

    url: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @classmethod
    def of(cls, url: str, headers: Message, total: str | None) -> _Version:
        """As an answer's headers state it; ``total`` may be missing or ``*``."""
        count = count_of(total)
        return cls(url, headers.get("ETag", ""), headers.get("Last-Modified", ""), count)

    @property
    def condition(self) -> str:
        """For If-Range, which takes no weak ETag; empty where the server gave nothing to hold."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def agrees_with(self, other: _Version) -> bool:
        """Whether nothing that both state differs; a partial answer need not repeat all of it."""
        ours = (self.etag, self.modified, self.total)
        theirs = (other.etag, other.modified, other.total)
        return all(a == b for a, b in zip(ours, theirs, strict=True) if a and b)


class _Part:
    """What was received so far, and notes on what it is a part of."""

    def __init__(self, path: Path, url: str, sha256: str | None, expected: int | None) -> None:
        self.path, self.url, self.sha256, self.expected = path, url, sha256, expected
        self.notes = path.with_name(f"{path.name}.json")
        self.version = _Version(url)
        self.whole = False
        self._recall()
        self.resumed_at = self.size

    @property
    def size(self) -> int:
        """Bytes received."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, as far as anybody said."""
        return self.expected if self.version.total is None else self.version.total

    def start(self, version: _Version) -> None:
        """Begin anew, with an empty file."""
        self.version, self.resumed_at = version, 0
        with _writing(self.path):
            self.path.write_bytes(b"")
            self.notes.write_text(json.dumps(asdict(version)), encoding="utf-8")

    def forget(self) -> None:
        """Keep nothing."""
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.version, self.resumed_at = _Version(self.url), 0

    def finish(self, destination: Path) -> Downloaded:
        """Check the sha256 and give the file its name."""
        digest = file_sha256(self.path)
        if self.sha256 not in (None, digest):
            self.forget()
            raise _other(self.url, f"sha256 {self.sha256}", digest)
        size = self.size
        with _writing(destination):
            self.path.replace(destination)
            self.notes.unlink(missing_ok=True)
        return Downloaded(destination, digest, size, self.resumed_at)

    def _recall(self) -> None:
        """Take up what an earlier call left, if it can be told which file it belongs to."""
        try:
            version = _Version(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            version = None
        if version and version.url == self.url and (version.condition or self.sha256):
            self.version = version
            self.whole = 0 < self.size == version.total
        else:
            self.forget()


def _receive(part: _Part, progress: Progress, timeout: float) -> None:
    """One request for what is missing; returns when the server has sent all of it.

    Raises:
        BrokenConnectionError: it has not, and may do so the next time.
    """
    have = part.size
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and part.version.condition:
        headers["If-Range"] = part.version.condition
    try:
        response = open_url(part.url, headers, timeout)
    except OutdatedPartError as error:
        promised = part.total
        part.forget()
        if promised is not None and promised != have == error.total:
            raise _other(part.url, f"{promised} bytes", f"{have} bytes") from error
        raise
    with response:
        if have and response.status == 206:
            _check_rest(part, response, have)
        else:
            length = response.headers.get("Content-Length")
            version = _Version.of(part.url, response.headers, length)
            _check_space(part, version.total)
            part.start(version)
        try:
            _write_to(part, response, progress)
        except CheckpointError:
            part.forget()
            raise
    if part.total not in (None, part.size):
        raise BrokenConnectionError(f"the connection ended after {part.size} of {part.total} bytes")
    part.whole = True


def _check_rest(part: _Part, response: http.client.HTTPResponse, have: int) -> None:
    """Make sure that a partial answer continues the file of which there is a part."""
    span, _, total = response.headers.get("Content-Range", "").partition("/")
    now = _Version.of(part.url, response.headers, total)
    if not (span.strip().startswith(f"bytes {have}-") and now.agrees_with(part.version)):
        part.forget()
        raise OutdatedPartError("the file on the server has changed")


def _check_space(part: _Part, total: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total > free + part.size:
        raise OutputError(
            f"cannot download {part.url} to {part.path.parent}",
            expected=f"{total} bytes of free space",
            got=f"{free} bytes",
            fix="free some space or choose another folder",
        )


def _write_to(part: _Part, response: http.client.HTTPResponse, progress: Progress) -> None:
    """Append what the server sends, after a look at how it begins."""
    received = part.size
    progress(received, part.total)
    with _writing(part.path), part.path.open("ab") as file:
        while piece := _read(response):
            if received == 0:
                _check_start(part, response, piece)
            received += len(piece)
            if part.total is not None and received > part.total:
                raise _other(part.url, f"{part.total} bytes", "more")
            file.write(piece)
            progress(received, part.total)
    if received == 0:
        _check_start(part, response, b"")


def _check_start(part: _Part, response: http.client.HTTPResponse, head: bytes) -> None:
    """Refuse what cannot become the file before the rest of it is fetched.

    Raises:
        CheckpointError: it is something else.
    """
    found = foreign_content(head)
    if found is None and response.headers.get_content_type() == "text/html":
        found = foreign_content(b"<html>")
    if found is not None:
        raise _other(part.url, "a file of weights", *found)
    offered = part.version.total
    if part.expected is not None and offered not in (None, part.expected):
        raise _other(part.url, f"{part.expected} bytes", f"{offered} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BrokenConnectionError(
            f"the connection broke: {error or type(error).__name__}"
        ) from error


def _stopped(part: _Part, error: BrokenConnectionError) -> CheckpointError:
    """The error for a download that was given up, saying what is left of it."""
    total = "" if part.total is None else f" of {part.total}"
    kept = f"; {part.size}{total} bytes are kept" if part.size else ""
    fix = _RESUME if part.size else "check the network connection"
    return CheckpointError(f"cannot download {part.url}", got=f"{error}{kept}", fix=fix)


def _other(url: str, expected: str, got: str, fix: str = "") -> CheckpointError:
    """The error for a server that gives something else than the file."""
    fix = fix or "try once more; if it stays so, the file was changed where it is published"
    what = f"the server gives something else for {url}, of which nothing was kept"
    return CheckpointError(what, expected=expected, got=got, fix=fix)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error
