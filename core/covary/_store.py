"""Where the weights of the catalogue are on this machine, and what is known about the files.

Weights that covary fetches or takes in lie in one folder of its cache, named after the checkpoint,
each with a record beside it. A record outlives its file: a hash that nobody publishes is trusted on
first use and holds for every later one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import platformdirs

from .catalogue import Checkpoint
from .errors import CheckpointError
from .files import foreign_content, output_folder, replacing

__all__ = [
    "Record",
    "Verified",
    "by_hand",
    "destination",
    "expected_bytes",
    "file_name",
    "folder",
    "locate",
    "published_name",
    "sniff",
    "verified",
]

Verified = Literal["bundled", "yes", "first use", "no"]

_SUFFIXES = (".pkl", ".pt", ".pth", ".safetensors")


@dataclass(frozen=True, slots=True)
class Record:
    """What was seen of a checkpoint's file when it was fetched or taken in."""

    path: str
    sha256: str
    bytes: int
    mtime_ns: int
    origin: str
    """The address it was fetched from, or the path it was taken from."""

    @classmethod
    def of(cls, name: str) -> Record | None:
        """The record of the checkpoint of that name, if there is a legible one."""
        try:
            found = cls(**json.loads(_record_file(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        texts = (found.path, found.sha256, found.origin)
        legible = all(isinstance(text, str) for text in texts)
        return found if legible and isinstance(found.bytes, int) else None

    @classmethod
    def write(cls, name: str, path: Path, sha256: str, origin: str) -> Record:
        """Record a file as it is now.

        Raises:
            OutputError: the cache folder cannot be written.
        """
        status = path.stat()
        found = cls(str(path.absolute()), sha256, status.st_size, status.st_mtime_ns, origin)
        file = _record_file(name)
        output_folder(file.parent)
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
        return found

    def describes(self, path: Path) -> bool:
        """Whether that file is the one recorded and was not written since."""
        status = path.stat()
        same = (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns)
        return same and path.absolute() == Path(self.path)


def folder() -> Path:
    """The folder of the weights; not created here."""
    return Path(platformdirs.user_cache_dir("covary")) / "checkpoints"


def destination(entry: Checkpoint) -> Path:
    """Where a checkpoint's file belongs that no package ships."""
    if entry.file:
        return Path(entry.file).expanduser()
    return folder() / file_name(entry.name, published_name(entry))


def file_name(name: str, original: str) -> str:
    """The checkpoint's name with the suffix of the file's original name."""
    suffix = Path(original).suffix.lower()
    return name + (suffix if suffix in _SUFFIXES else "")


def published_name(entry: Checkpoint) -> str:
    """The file's name in the address that it is published at; may be empty."""
    return urlsplit(entry.url).path.rsplit("/", 1)[-1]


def locate(entry: Checkpoint) -> Path | None:
    """The file of a checkpoint, if it is on this machine.

    Raises:
        CheckpointError: the package that ships it cannot be found.
    """
    if entry.file:
        found = _shipped(entry) or destination(entry)
        return found if found.is_file() else None
    record = Record.of(entry.name)
    names = [destination(entry).name, *(entry.name + suffix for suffix in _SUFFIXES)]
    if original := published_name(entry):
        names.append(original)  # put there by hand
    paths = [*([Path(record.path)] if record else []), *(folder() / name for name in names)]
    return next((path for path in paths if path.is_file()), None)


def verified(entry: Checkpoint, path: Path) -> Verified:
    """What is known about a checkpoint's file without reading it.

    ``yes``: its sha256 was seen to be the catalogue's; ``first use``: it was recorded, for want of
    one in the catalogue; ``no``: nobody looked, or the file was written since.
    """
    if _shipped(entry) is not None:
        return "bundled"
    record = Record.of(entry.name)
    if record is None or not record.describes(path):
        return "no"
    if record.sha256 in (entry.sha256, *entry.also_sha256):
        return "yes"
    return "no" if entry.sha256 else "first use"


def expected_bytes(entry: Checkpoint) -> int | None:
    """The size that the checkpoint's file here ought to have, which may be a conversion."""
    record = Record.of(entry.name)
    return record.bytes if record else entry.bytes


def by_hand(entry: Checkpoint) -> str:
    """How somebody gets the file without covary, as the end of an error's ``fix``."""
    address = entry.page or entry.url
    get = f"download {address} in a browser" if address else "find or train one"
    return f"{get} and run `covary checkpoints add FILE --name {entry.name}`"


def sniff(path: Path) -> None:
    """Refuse what is no data at all.

    Raises:
        CheckpointError: no such file, an empty one, a web page or a Git-LFS pointer.
    """
    try:
        with path.open("rb") as file:
            found = foreign_content(file.read(512))
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path}",
            expected="an existing file",
            got=error.strerror or str(error),
            fix="check the path",
        ) from error
    if found:
        raise CheckpointError(
            f"checkpoint {path}", expected="a file of weights", got=found[0], fix=found[1]
        )


def _shipped(entry: Checkpoint) -> Path | None:
    """The path inside the package that ships it; None where ``file`` is a plain path or empty."""
    from importlib.resources import files

    package, _, inner = entry.file.partition(":")
    if not inner or Path(entry.file).is_absolute():
        return None
    try:
        return Path(str(files(package))) / inner
    except (ImportError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {entry.name!r}",
            expected=f"an importable package {package!r} that ships it",
            got=f"{type(error).__name__}: {error}",
            fix="correct `file` in the catalogue that lists it",
        ) from error


def _record_file(name: str) -> Path:
    # Names start with a letter or digit, so no checkpoint's file can have this name.
    return folder() / f".{name}.json"
