"""Generator files: reading public checkpoints as data, writing safetensors whole or not at all."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save

from covary.errors import CheckpointError
from covary.files import replacing
from covary_plugins.checkpoints import load_tensors, read_checkpoint, sniff
from covary_plugins.checkpoints.reading import AGAIN

from .generator import Generator
from .snapshots import Snapshot, check_kwargs, find_generator

__all__ = ["build", "load_generator", "read_metadata", "read_snapshot", "save_safetensors"]

_EXPECTED = (
    "a StyleGAN2 generator: safetensors, a .pkl of NVIDIA's PyTorch or TensorFlow code, or a "
    "rosinality .pt"
)
_SAFETENSORS = "a safetensors file of a StyleGAN2 generator"
_LATENTS_OF_THE_MEAN = 4096


def load_generator(path: str | os.PathLike[str]) -> Generator:
    """The generator stored in a checkpoint, on the CPU, float32, in evaluation mode.

    Reading runs no code from the file. The format is told from the content: safetensors (with
    constructor arguments as JSON under ``init_kwargs`` in its metadata, where there are any),
    pickles of NVIDIA's PyTorch and TensorFlow code, rosinality's files (training and converted),
    and state dicts under NVIDIA's or rosinality's names saved with torch.save. The moving average
    is taken; where there is none, a warning says what is. A mean code that the file lacks is
    estimated from 4,096 latents of a fixed seed.

    Raises:
        CheckpointError: no such file, or no StyleGAN2 generator: a web page, a Git-LFS pointer, a
            cut-off file, a StyleGAN1 or StyleGAN3, a discriminator, a pickle that asks for more
            than data; the message says which, and what to do.
    """
    path = Path(path)
    snapshot = read_snapshot(path)
    if snapshot.note:
        warnings.warn(f"{path}: {snapshot.note}", stacklevel=2)
    return build(path, snapshot)


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """The generator's tensors and settings as the file has them.

    Raises:
        CheckpointError: as `load_generator`.
    """
    path = Path(path)
    found = sniff(path)
    try:
        if found.kind == "safetensors":
            metadata = read_metadata(path)
            snapshot = Snapshot(
                _load_safetensors(path),
                _init_kwargs(path, metadata),
                "safetensors",
                license=metadata.get("license", ""),
            )
        elif found.fix:
            raise CheckpointError(str(path), expected=_EXPECTED, got=found.what, fix=found.fix)
        else:
            snapshot = find_generator(read_checkpoint(path, wanted=_EXPECTED))
        check_kwargs(snapshot.init_kwargs)
    except CheckpointError as error:
        raise _named(path, error) from error
    return snapshot


def build(path: Path, snapshot: Snapshot) -> Generator:
    """The generator of ``snapshot``, which came from ``path``.

    Raises:
        CheckpointError: as `load_generator`.
    """
    try:
        generator = Generator.from_state_dict(load_tensors(snapshot.state), snapshot.init_kwargs)
    except CheckpointError as error:
        raise _named(path, error) from error
    # Shapes of a damaged file may be of any kind, and torch has no single error for that.
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        got = f"tensors that do not fit together ({type(error).__name__}: {error})"
        raise CheckpointError(str(path), expected=_EXPECTED, got=got, fix=AGAIN) from error
    if not generator.mapping.has_w_avg and generator.c_dim:
        raise CheckpointError(
            str(path),
            expected="the mean code (w_avg) of a conditional network",
            got="none",
            fix=AGAIN,
        )
    if not generator.mapping.has_w_avg:
        _estimate_mean(generator)
    return generator


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a safetensors file (``init_kwargs`` as JSON, ``license``, ...).

    Raises:
        CheckpointError: no such file, another kind of file, or a damaged one.
    """
    path = Path(path)
    found = sniff(path)
    if found.kind != "safetensors":
        fix = found.fix or "convert it with 'covary convert'"
        raise CheckpointError(str(path), expected=_SAFETENSORS, got=found.what, fix=fix)
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


def _estimate_mean(generator: Generator) -> None:
    """Gives the mean code to a generator that came without, as rosinality's scripts would."""
    z = np.random.RandomState(0).randn(_LATENTS_OF_THE_MEAN, generator.z_dim)
    with torch.no_grad():
        ws = generator.mapping(torch.from_numpy(z).to(torch.float32))
    generator.mapping.w_avg = ws[:, 0].mean(dim=0)
    generator.mapping.has_w_avg = True


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable(path, str(error)) from error


def _init_kwargs(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    text = metadata.get("init_kwargs", "{}")
    try:
        kwargs = json.loads(text)
    except (ValueError, RecursionError):
        kwargs = None
    if not isinstance(kwargs, dict):
        raise CheckpointError(
            f"{path}: metadata 'init_kwargs'",
            expected="a JSON object",
            got=text[:40],
            fix="write the file again with save_safetensors",
        )
    return kwargs


def _named(path: Path, error: CheckpointError) -> CheckpointError:
    """``error`` with the file's name in front, unless it has it."""
    if error.what.startswith(str(path)):
        return error
    what = f"{path}: {error.what}"
    return CheckpointError(what, expected=error.expected, got=error.got, fix=error.fix)


def _unreadable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        str(path), expected=_SAFETENSORS, got=f"a damaged or cut-off file ({reason})", fix=AGAIN
    )
