"""Brings weights to where ``checkpoint_path`` finds them: from the web, or from a file at hand."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import ValidationError

from . import _store
from ._registry import registry, user_registry
from ._store import Record, Verified
from .catalogue import Catalogue, Checkpoint, read_catalogue
from .downloads import Progress, download
from .errors import CheckpointError, InputError, UnknownNameError
from .files import file_sha256, output_folder, replacing

__all__ = ["Mode", "Stored", "add", "check", "fetch"]

Mode = Literal["copy", "move", "link"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint on this machine, as it was just checked."""

    name: str
    path: Path
    sha256: str
    bytes: int
    verified: Verified
    resumed_at: int = 0
    """Bytes that an earlier, stopped fetch had brought."""
    remarks: tuple[str, ...] = ()
    """What its owner should know."""


def fetch(entry: Checkpoint, to: Path | None, progress: Progress) -> Stored:
    """Download a checkpoint to covary's folder or to the folder ``to``, or find it here.

    Whoever calls this has shown the licences. A hash that the catalogue does not state is recorded,
    and later fetches have to match it.

    Raises:
        CheckpointError: it is not to be had so; the message says how to get it by hand.
        OutputError: it cannot be written.
    """
    if not entry.url:
        raise CheckpointError(
            f"checkpoint {entry.name!r} cannot be fetched by a program", fix=_store.by_hand(entry)
        )
    name = _store.file_name(entry.name, _store.published_name(entry))
    target = (to or _store.folder()) / name
    with _locked(entry.name):
        if here := _store.locate(entry):
            return check(entry, here)
        try:
            got = download(
                entry.url, target, sha256=_known_sha256(entry), size=entry.bytes, progress=progress
            )
        except CheckpointError as error:
            fix = f"{error.fix}, or {_store.by_hand(entry)}"
            raise CheckpointError(
                error.what, expected=error.expected, got=error.got, fix=fix
            ) from error
        Record.write(entry.name, target, got.sha256, entry.url)
    verified = _store.verified(entry, target)
    return Stored(entry.name, target, got.sha256, got.bytes, verified, got.resumed_at)


def check(entry: Checkpoint, path: Path) -> Stored:
    """A checkpoint's file after its sha256 was compared and recorded; read once and remembered.

    Raises:
        CheckpointError: it is another file, or none.
    """
    record = Record.of(entry.name)
    if record is None or not record.describes(path):
        _store.sniff(path)
        sha256 = file_sha256(path)
        _check_identity(entry, path, sha256)
        # Where a hash is trusted because it was the first fetched, it stays so.
        origin = record.origin if record and record.sha256 == sha256 else str(path)
        record = Record.write(entry.name, path, sha256, origin)
    return _stored(entry, path, record.sha256)


def add(path: Path, name: str | None, mode: Mode | None, family: str) -> Stored:
    """Take in a file that its owner has.

    One that the catalogue knows is copied to covary's folder, unless ``mode`` says otherwise. One
    of a new name stays where it is, and its path is written to the user's own catalogue.

    Args:
        path: the file.
        name: of the checkpoint; None where the catalogue knows the file by its sha256.
        mode: whether to copy the file, to move it, or to leave it in its place.
        family: the source that reads it, for a new name.

    Raises:
        InputError: no name was given and none can be told, or the name is taken or unfit.
        CheckpointError: the file is no data, or not the checkpoint of that name.
        OutputError: it cannot be written.
    """
    _store.sniff(path)
    sha256 = file_sha256(path)
    entry = _by_sha256(sha256, name) or _by_name(path, name)
    if entry is None:
        return _add_own(path, str(name), sha256, mode or "link", family)
    here = _store.locate(entry)
    if here is not None and not here.samefile(path):
        if check(entry, here).sha256 == sha256:
            return _stored(entry, here, sha256, "it was here already")
        fix = "remove that file first, or choose another name"
        raise InputError(f"checkpoint {entry.name!r} is here already", got=str(here), fix=fix)
    if entry.file and here is None:
        fix = f"put it there, or correct {user_registry()}, or choose another name"
        raise InputError(f"checkpoint {entry.name!r} has its place at {entry.file}", fix=fix)
    _check_identity(entry, path, sha256)
    placed = here or _place(path, _store.file_name(entry.name, path.name), mode or "copy")
    Record.write(entry.name, placed, sha256, origin=str(path))
    remarks = []
    if sha256 not in entry.also_sha256 and not _same_format(entry, path):
        remarks.append("it is not the published file but a conversion")
    elif name is None and entry.sha256 is None:
        remarks.append("it was recognised by its name and size alone")
    return _stored(entry, placed, sha256, *remarks)


def _stored(entry: Checkpoint, path: Path, sha256: str, *remarks: str) -> Stored:
    verified = _store.verified(entry, path)
    return Stored(entry.name, path, sha256, path.stat().st_size, verified, remarks=remarks)


def _known_sha256(entry: Checkpoint) -> str | None:
    """What the published file's sha256 has to be: as stated, else as it was on the first fetch."""
    record = Record.of(entry.name)
    pinned = record.sha256 if record and record.origin == entry.url else None
    return entry.sha256 or pinned


def _same_format(entry: Checkpoint, path: Path) -> bool:
    """Whether the file could be the published one, rather than a conversion of it."""
    published = _store.published_name(entry)
    return not published or path.suffix.lower() == Path(published).suffix.lower()


def _check_identity(entry: Checkpoint, path: Path, sha256: str) -> None:
    """Refuse a file that claims to be the published one and is not."""
    known = _known_sha256(entry)
    if known is None or sha256 in (known, *entry.also_sha256) or not _same_format(entry, path):
        return
    size = path.stat().st_size
    sizes = (
        (f", {entry.bytes} bytes", f", {size} bytes")
        if entry.bytes not in (None, size)
        else ("", "")
    )
    raise CheckpointError(
        f"{path} is not the file of checkpoint {entry.name!r}",
        expected=f"sha256 {known}{sizes[0]}",
        got=f"{sha256}{sizes[1]}",
        fix="it is damaged, cut off or another one: get it again, or add it under another name",
    )


def _by_sha256(sha256: str, name: str | None) -> Checkpoint | None:
    for entry in _entries():
        if sha256 in (entry.sha256, *entry.also_sha256):
            if name not in (None, entry.name):
                fix = "leave out --name"
                raise InputError(f"the file is checkpoint {entry.name!r} by its sha256", fix=fix)
            return entry
    return None


def _by_name(path: Path, name: str | None) -> Checkpoint | None:
    """The catalogue's entry of that name, None for a new name; without one, by the file's name."""
    if name is not None:
        try:
            return registry().checkpoint(name)
        except UnknownNameError:
            return None
    for entry in _entries():
        if path.name == _store.published_name(entry):
            if entry.sha256 or entry.bytes == path.stat().st_size:
                return entry
            raise InputError(
                f"{path} could be checkpoint {entry.name!r}, of which the catalogue knows no hash",
                fix=f"add --name {entry.name} if it is",
            )
    raise InputError(
        f"the catalogue does not know {path}",
        expected="a file that it knows by sha256",
        fix="give it a name: --name NAME",
    )


def _entries() -> Iterator[Checkpoint]:
    for shelved in registry().checkpoints:
        if isinstance(shelved.entry, Checkpoint) and not shelved.shadowed:
            yield shelved.entry


def _add_own(path: Path, name: str, sha256: str, mode: Mode, family: str) -> Stored:
    try:
        entry = Checkpoint(
            name=name,
            summary=f"added from {path.name}",
            family=family,
            sha256=sha256,
            sha256_origin="as it was when it was added",
            bytes=path.stat().st_size,
        )
    except ValidationError as error:
        expected = "lower-case letters, digits, '.', '_', '-', starting with a letter or digit"
        raise InputError(f"name {name!r}", expected=expected) from error
    catalogue = user_registry().resolve()
    place = path if mode == "link" else _store.folder() / _store.file_name(name, path.name)
    entry = entry.model_copy(update={"file": str(place.absolute())})
    text = _with_entry(catalogue, entry)
    _place(path, place.name, mode)
    output_folder(catalogue.parent)
    with replacing(catalogue) as temporary:
        temporary.write_text(text, encoding="utf-8")
    registry.cache_clear()
    Record.write(name, place, sha256, origin=str(path))
    return _stored(entry, place, sha256, f"its entry is in {catalogue}")


def _with_entry(catalogue: Path, entry: Checkpoint) -> str:
    """The catalogue's text with one more entry at its end; comments stay as they are.

    Raises:
        InputError: the file is not a catalogue, or no table can be appended to it.
    """
    old = ""
    if catalogue.exists():
        read_catalogue(catalogue)
        old = catalogue.read_text(encoding="utf-8").rstrip("\n") + "\n\n"
    block = f"[[checkpoint]]\n{tomli_w.dumps(entry.model_dump(exclude_defaults=True))}"
    try:
        Catalogue.model_validate(tomllib.loads(old + block))
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"catalogue {catalogue}",
            expected="checkpoints as [[checkpoint]] tables",
            got=str(error),
            fix=f"add this entry yourself: {entry.model_dump(exclude_defaults=True)}",
        ) from error
    return old + block


def _place(path: Path, name: str, mode: Mode) -> Path:
    """Bring a file to covary's folder under that name, or leave it where it is."""
    if mode == "link":
        return path.absolute()
    target = output_folder(_store.folder()) / name
    if mode == "move" and _renamed(path, target):
        return target
    with replacing(target) as temporary:
        shutil.copyfile(path, temporary)
    if mode == "move":
        path.unlink()
    return target


def _renamed(path: Path, target: Path) -> bool:
    """Whether a file could be moved without copying it, as within one file system."""
    try:
        path.replace(target)
    except OSError:
        return False
    return True


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Only one fetch of a checkpoint at a time, also between processes.

    Raises:
        CheckpointError: another one is at work.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(output_folder(_store.folder()) / f".{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"checkpoint {name!r} is being fetched by another process", fix="wait for it"
        ) from None
    try:
        yield
    finally:
        lock.release()
