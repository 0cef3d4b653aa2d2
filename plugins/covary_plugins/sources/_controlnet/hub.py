"""Folders by their path or by their id on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from covary import CheckpointError

__all__ = ["folder_of"]

_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


def _is_hub_id(name: str) -> bool:
    """Whether ``name`` can only be an id on the hub: nothing is there under that path."""
    return bool(_ID.fullmatch(name)) and not Path(name).expanduser().exists()


def folder_of(name: str, what: str) -> Path:
    """The folder that ``name`` means on this machine; touches no network.

    Args:
        name: a path, or a hub id whose files are in the cache.
        what: what it should be, for messages.

    Raises:
        CheckpointError: no such folder, a single file, or an id that is not in the cache.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(
            f"{what} {name}",
            expected="a folder in the layout of diffusers",
            got="a single file",
            fix="convert it with from_single_file(...).save_pretrained(folder) of diffusers",
        )
    if not _is_hub_id(name):
        raise CheckpointError(
            f"{what} {name}", expected="a folder, or a hub id OWNER/NAME", got="no such folder"
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
