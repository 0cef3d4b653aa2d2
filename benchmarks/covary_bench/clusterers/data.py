"""Style summaries of rendered scenes on disk, shared by all jobs on the same data."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import covary
from covary.errors import InputError
from covary.files import file_sha256, output_folder, replacing
from covary.testing import worlds

from .schema import Setting

__all__ = ["Dataset", "check_settings", "data_name", "prepare"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A style summary on disk, and what is true of its scene."""

    folder: Path
    size: tuple[int, int]
    """(H, W)."""
    sha256: str
    """Of the summary's file."""

    @property
    def file(self) -> Path:
        """The planes as an .npy file."""
        return self.folder / "planes.npy"

    def planes(self) -> Array:
        """The compact summary (D, N), as a pipeline stores it: mapped, not read."""
        found: Array = np.load(self.file, mmap_mode="r")
        return found

    def regions(self) -> Array:
        """Which part of the scene each pixel shows, uint8 (H, W)."""
        found: Array = np.load(self.folder / "regions.npy")
        return found

    def foreground(self) -> Array:
        """The true foreground, bool (H, W)."""
        found: Array = np.load(self.folder / "foreground.npy")
        return found

    def delete(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


def data_name(setting: Setting) -> str:
    """A file name for the data of a setting; the same for every k."""
    return f"{setting.world}-{setting.size}-{setting.variants}-{setting.space}-{setting.seed}"


def check_settings(settings: list[Setting]) -> None:
    """Refuse settings that cannot be measured here, before anything is.

    Raises:
        InputError: more clusters than pixels, or a size that the worlds do not draw.
        UnknownNameError: no such world or feature space.
        MemoryBudgetError: a summary that memory will not hold.
    """
    for setting in settings:
        worlds.get(setting.world)
        pixels = setting.size**2
        if setting.k > pixels:
            raise InputError(
                f"k = {setting.k} at {setting.size}x{setting.size}",
                expected=f"at most {pixels} clusters, the number of pixels",
                got=str(setting.k),
                fix="lower --k or raise --size",
            )
        _pipeline(setting).plan().check()


def prepare(setting: Setting, folder: Path) -> Dataset:
    """Render the scene of a setting into ``folder``; its planes are those a pipeline makes.

    Raises:
        OutputError: the folder cannot be written.
    """
    where = output_folder(folder / data_name(setting))
    scene = worlds.get(setting.world).scene(setting.seed, (setting.size, setting.size))
    truth = scene.truth
    _save(where / "regions.npy", truth.labels[0].numpy().astype(np.uint8))
    _save(where / "foreground.npy", truth.foreground[0].numpy())
    summary = _pipeline(setting).summarise(seed=setting.seed)
    _save(where / "planes.npy", summary.data.T.numpy())
    return Dataset(where, summary.size, file_sha256(where / "planes.npy"))


def _pipeline(setting: Setting) -> covary.Pipeline:
    source = {"world": setting.world, "resolution": setting.size, "n": setting.variants}
    clusterer = ("lloyd", {"k": setting.k})  # not run: a pipeline has one
    return covary.Pipeline(("worlds", source), setting.space, clusterer, "corner", device="cpu")


def _save(path: Path, array: Array) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
