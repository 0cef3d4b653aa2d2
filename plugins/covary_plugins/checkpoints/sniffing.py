"""What kind of file something is, told from its content and never from its name."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covary.errors import CheckpointError
from covary.files import foreign_content

from .archives import read_entries, saved_pickles
from .reading import AGAIN, Reading
from .torch_streams import MAGIC

__all__ = ["Kind", "Sniffed", "opened", "sniff"]

Kind = Literal[
    "safetensors",
    "pickle",
    "torch-zip",
    "torch-legacy",
    "html",
    "lfs-pointer",
    "empty",
    "truncated",
    "other",
    "unknown",
]

_HEAD = 512
_RESAVE = "give the checkpoint itself, or save its state dict with torch.save"
_MAGIC = b"\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
_FOREIGN: dict[str, Kind] = {
    "an empty file": "empty",
    "a web page (HTML)": "html",
    "a Git-LFS pointer": "lfs-pointer",
}
_OTHERS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b", "a gzip-compressed file"),
    (b"BZh", "a bzip2-compressed file"),
    (b"\xfd7zXZ\x00", "an xz-compressed file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89HDF", "an HDF5 file (Keras)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file"),
    (b"{", "JSON text"),
)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a file is.

    Attributes:
        kind: the format, or what is in its place.
        what: the same in words for a message, e.g. "a web page (HTML)".
        fix: what to do about it; empty for formats that can be read.
        size: bytes.
    """

    kind: Kind
    what: str
    fix: str
    size: int


def sniff(path: str | os.PathLike[str]) -> Sniffed:
    """What the file is, by its first bytes, its size and the directory of a zip archive.

    Raises:
        CheckpointError: no such file, or not a file.
    """
    path = Path(path)
    reading, data = opened(path)
    kind, what, fix = _by_content(data, reading)
    return Sniffed(kind, what, fix, reading.size)


def opened(path: Path, wanted: str = "a checkpoint") -> tuple[Reading, memoryview]:
    """The file's limits and its bytes, mapped rather than read.

    Raises:
        CheckpointError: no such file, or not a file.
    """
    try:
        # Opening a pipe would wait for its other end.
        if path.exists() and not path.is_file():
            raise Reading(path, 0, wanted).error(
                "a folder" if path.is_dir() else "no regular file", "give the file itself"
            )
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
    except OSError as error:
        raise Reading(path, 0, wanted).error(
            error.strerror or str(error), "check the path"
        ) from error
    return Reading(path, size, wanted, mapped), memoryview(mapped or b"")


def _by_content(data: memoryview, reading: Reading) -> tuple[Kind, str, str]:
    head, size = bytes(data[:_HEAD]), reading.size
    if foreign := foreign_content(head):
        return _FOREIGN.get(foreign[0], "other"), *foreign
    # First: the length of a safetensors header may begin as a pickle does.
    header = int.from_bytes(head[:8], "little")
    has_header = len(head) >= 10 and head[8:9] == b"{"
    if has_header and 8 + header <= size:
        return "safetensors", "a safetensors file", ""
    if head.startswith(b"PK\x03\x04"):
        return _archive(data, reading)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _pickle(head, bytes(data[-1:]), size)
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return "other", what, _RESAVE
    if has_header and header < 2**40:
        return "truncated", f"a file cut off after {size} bytes, in its header", AGAIN
    return "unknown", f"{size} bytes of something else", AGAIN


def _pickle(head: bytes, last: bytes, size: int) -> tuple[Kind, str, str]:
    # From protocol 4 on a frame of 8 + 1 bytes may come before the first value.
    if head[2:].startswith(_MAGIC) or head[11:].startswith(_MAGIC):
        return "torch-legacy", "a file of torch.save (before zip archives)", ""
    if last != b".":
        return "truncated", f"a pickle cut off after {size} bytes", AGAIN
    if b"torch_utils" in head:
        return "pickle", "a pickle of NVIDIA's PyTorch code", ""
    if b"dnnlib" in head:
        return "pickle", "a pickle of NVIDIA's TensorFlow code", ""
    return "pickle", "a pickle", ""


def _archive(data: memoryview, reading: Reading) -> tuple[Kind, str, str]:
    try:
        entries = read_entries(data, reading)
    except CheckpointError as error:
        return "truncated", error.got, error.fix
    if any(name.endswith("/constants.pkl") for name in entries):
        return "other", "a TorchScript archive, which holds a program", _RESAVE
    if len(saved_pickles(entries)) == 1:
        return "torch-zip", "a file of torch.save", ""
    if entries and all(name.endswith(".npy") for name in entries):
        return "other", "NumPy arrays (.npz)", _RESAVE
    return "other", "a zip archive of other things", "unpack it, or " + _RESAVE
