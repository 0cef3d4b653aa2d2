"""Generator files: reading safetensors as data only, and writing them whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from covary.errors import CheckpointError
from covary.images import replacing

from .generator import Generator

__all__ = ["load_generator", "read_metadata", "save_safetensors"]

_AGAIN = "download the file again and compare its sha256"
_EXPECTED = "a safetensors file of a StyleGAN2 generator"


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """The generator stored in a safetensors file, on the CPU, float32, in evaluation mode.

    Reading runs no code from the file. Constructor arguments come from the JSON under
    ``init_kwargs`` in the file's metadata, where there is one.

    Raises:
        CheckpointError: no such file, or not a safetensors file of a StyleGAN2: a web page, a
            Git-LFS pointer, a pickle, a cut-off file; the message says which, and what to do.
    """
    path = Path(path)
    kwargs = _init_kwargs(path, read_metadata(path))
    try:
        state = load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, str(error)) from error
    try:
        return Generator.from_state_dict(state, kwargs)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path}: {error.what}", expected=error.expected, got=error.got, fix=error.fix
        ) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file (``init_kwargs`` as JSON, ``license``, ...).

    Raises:
        CheckpointError: as `load_generator`.
    """
    path = Path(path)
    _check_content(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, str(error)) from error


def save_safetensors(
    generator: Generator,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes ``generator`` so that `load_generator` gives it back; beside first, then renamed.

    Args:
        metadata: strings kept in the file; ``init_kwargs`` is added.
        dtype: of the stored tensors; torch.float16 halves the size.

    Raises:
        CheckpointError: a value that ``dtype`` cannot hold.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    tensors = {}
    for name, tensor in generator.state_dict().items():
        stored = tensor.detach().cpu().to(dtype).contiguous()
        if not bool(stored.isfinite().all()):
            raise CheckpointError(
                f"tensor {name!r}",
                expected=f"values within the range of {dtype}",
                got=f"a largest magnitude of {float(tensor.abs().max()):.3g}",
                fix="store it as torch.float32",
            )
        tensors[name] = stored
    kwargs = json.dumps(generator.architecture.init_kwargs(), sort_keys=True)
    with replacing(path) as temporary:
        # Not save_file, which makes the file readable by its owner only.
        temporary.write_bytes(save(tensors, {**(metadata or {}), "init_kwargs": kwargs}))


def _init_kwargs(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get("init_kwargs", "{}")
    try:
        kwargs = json.loads(text)
    except json.JSONDecodeError:
        kwargs = None
    if not isinstance(kwargs, dict):
        raise CheckpointError(
            f"{path}: metadata 'init_kwargs'",
            expected="a JSON object",
            got=text[:40],
            fix="write the file again with save_safetensors",
        )
    return kwargs


def _check_content(path: Path) -> None:
    """Refuses what is no safetensors file, by its first bytes and its size."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(
            str(path), expected=_EXPECTED, got=error.strerror or str(error), fix="check the path"
        ) from error
    found = _foreign(head)
    if found:
        raise CheckpointError(str(path), expected=_EXPECTED, got=found[0], fix=found[1])
    length = int.from_bytes(head[:8], "little")
    if len(head) < 10 or head[8:9] != b"{":
        raise CheckpointError(
            str(path), expected=_EXPECTED, got=f"{size} bytes of something else", fix=_AGAIN
        )
    if 8 + length > size:
        got = f"a file cut off after {size} bytes, in its header"
        raise CheckpointError(str(path), expected=_EXPECTED, got=got, fix=_AGAIN)


def _foreign(head: bytes) -> tuple[str, str] | None:
    """What ``head`` is the beginning of, and what to do, when it is a known other thing."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file", _AGAIN
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page (HTML)", "the link led to a page, not the file; " + _AGAIN
    if text.startswith(b"version https://git-lfs"):
        return "a Git-LFS pointer", "fetch the file itself with 'git lfs pull'"
    convert = "a reader for pickles is not available yet; convert it to safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive, as torch.save writes it (a pickle inside)", convert
    if head[:1] == b"\x80" and head[1:2] in b"\x01\x02\x03\x04\x05":
        return "a pickle", convert
    return None


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        str(path), expected=_EXPECTED, got=f"a damaged or cut-off file ({reason})", fix=_AGAIN
    )
