"""Where a model's files are, and whether they are what they should be; reads no tensor."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from covary import CheckpointError
from covary.files import file_sha256

__all__ = ["Network", "folder_of", "hashes", "read_json"]

_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Network:
    """One network's folder: ``config.json`` and safetensors files."""

    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    """Its files, several where it is sharded."""
    variant: str | None
    """``"fp16"`` where the files are called ``*.fp16.safetensors`` and there are no plain ones."""

    @classmethod
    def read(cls, folder: Path) -> Network:
        """The network in ``folder``.

        Raises:
            CheckpointError: no configuration, no safetensors files, or damaged ones.
        """
        config = read_json(folder / "config.json")
        variant, weights = _choose(folder)
        for path in weights:
            _parameters(path)
        return cls(folder, config, weights, variant)

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        return sum(map(_parameters, self.weights))

    def kind(self, known: Collection[str], what: str, fix: str) -> str:
        """Its ``model_type``, one of those that are known.

        Args:
            known: types that the caller has classes for.
            what: whose network it is, for messages.
            fix: what to do where it is another.

        Raises:
            CheckpointError: another type, or none stated.
        """
        given = self.config.get("model_type")
        if given not in known:
            raise CheckpointError(
                what,
                expected=f"a network of type {' or '.join(known)}",
                got=str(given or "one of no stated type"),
                fix=fix,
            )
        return str(given)


def _is_hub_id(name: str) -> bool:
    """Whether ``name`` can only be an id on the hub: nothing is there under that path."""
    return bool(_ID.fullmatch(name)) and not Path(name).expanduser().exists()


def folder_of(name: str, what: str, library: str) -> Path:
    """The folder that ``name`` means on this machine; touches no network.

    Args:
        name: a path, or a hub id whose files are in the cache.
        what: what it should be, for messages.
        library: whose layout the folder should have, ``"diffusers"`` or ``"transformers"``.

    Raises:
        CheckpointError: no such folder, a single file, or an id that is not in the cache.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(
            f"{what} {name}",
            expected=f"a folder in the layout of {library}",
            got="a single file",
            fix="convert it with from_single_file(...).save_pretrained(folder) of diffusers"
            if library == "diffusers"
            else "give the whole folder, with config.json",
        )
    if not _is_hub_id(name):
        raise CheckpointError(
            f"{what} {name}",
            expected="a folder, or a hub id OWNER/NAME",
            got="no such folder",
            fix="check the path; what it should hold is what save_pretrained writes",
        )
    return _cached(name, what)


def _cached(name: str, what: str) -> Path:
    """The newest snapshot of a hub id in the cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{what} {name}",
            expected="a folder, or a hub id whose files are on this machine",
            got="neither",
            fix=f"read its licence at https://huggingface.co/{name}, then run `hf download {name}`",
        ) from error


def hashes(folder: Path, name: str) -> dict[str, str]:
    """``NAME/FILE`` of every file in a model's folder that is read -> sha256.

    Takes seconds for gigabytes.
    """
    read = (".json", ".txt", ".safetensors")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in read]
    return {f"{name}/{path.name}": file_sha256(path) for path in paths}


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: no such file, or something else in it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"file {path}",
            expected="the configuration of a saved model",
            got="no such file",
            fix="fetch the whole folder, or save it with save_pretrained",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"file {path}", expected="JSON", got=str(error)) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"file {path}", expected="a JSON object", got=type(data).__name__)
    return data


def _choose(folder: Path) -> tuple[str | None, tuple[Path, ...]]:
    """The safetensors files to load: the plain ones, else those of the only variant."""
    found: dict[str | None, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        stem = re.fullmatch(
            r"(?:model|diffusion_pytorch_model)"
            r"(?:-\d+-of-\d+)?(?:\.(\w+))?(?:-\d+-of-\d+)?\.safetensors",
            path.name,
        )
        if stem:
            found.setdefault(stem[1], []).append(path)
    if None in found:
        return None, tuple(found[None])
    if len(found) == 1:
        ((variant, paths),) = found.items()
        return variant, tuple(paths)
    names = [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".ckpt")]
    raise CheckpointError(
        f"weights in {folder}",
        expected="safetensors files",
        got=(f"pickles only ({', '.join(names)})" if names else "none")
        if not found
        else f"the variants {', '.join(map(str, found))} and none without",
        fix="pickles can run code when read: fetch the safetensors files of the same model, or "
        "convert it where you trust it, with save_pretrained(folder)"
        if names
        else "fetch the whole folder",
    )


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header.

    Raises:
        CheckpointError: it is not such a file, or is cut off.
    """
    try:
        with open(path, "rb") as stream:
            start = stream.read(len(_LFS))
        if start == _LFS:
            raise CheckpointError(
                f"file {path}",
                expected="weights",
                got="a Git LFS pointer to them",
                fix="run `git lfs pull` in that folder",
            )
        with safe_open(path, framework="np") as opened:
            names = opened.keys()
            return sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"file {path}",
            expected="a whole safetensors file",
            got=str(error),
            fix="fetch it again",
        ) from error
