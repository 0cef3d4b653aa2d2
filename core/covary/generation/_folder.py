"""Where things are in the folder of a data set."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from ..files import drop_leftovers, unwritable
from ._durable import make_folder

__all__ = ["CARD", "MANIFEST", "OWN", "PIPELINE", "PREVIEW", "Folder"]

CARD, MANIFEST, PIPELINE, PREVIEW = "README.md", "manifest.jsonl", "pipeline.toml", "preview.png"
OWN = frozenset({CARD, MANIFEST, PIPELINE, PREVIEW})
"""Files that covary writes beside those of the writer."""


class Folder:
    """The paths of a data set's folder; what only covary needs is below ``.covary``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".covary"
        self.job = self.state / "job.json"
        self.lock = self.state / "lock"
        self.progress = self.state / "progress.json"
        self.records = self.state / "shards"
        self.staging = self.state / "staging"
        self.previews = self.state / "preview"
        self.manifest = root / MANIFEST

    def record(self, shard: str) -> Path:
        """The record of a shard."""
        return self.records / f"{shard}.json"

    def preview(self, shard: str) -> Path:
        """Some pairs of a shard, for the preview."""
        return self.previews / f"{shard}.safetensors"

    def make(self) -> None:
        """Make the folders; where something else is, that stays alone.

        Raises:
            InputError: the folder is that of something else.
            OutputError: it cannot be written.
        """
        if not self.state.exists():
            self.refuse_others()
        for folder in (self.records, self.staging, self.previews):
            try:
                make_folder(folder)
            except OSError as error:
                raise unwritable(self.root, error) from error

    def refuse_others(self) -> None:
        """Refuse a folder in which there is anything but covary's state.

        Raises:
            InputError: there is.
            OutputError: it cannot be read.
        """
        try:
            others = sorted(path.name for path in self.root.iterdir() if path != self.state)
        except OSError as error:
            raise unwritable(self.root, error) from error
        if others:
            gone = MANIFEST in others
            raise InputError(
                f"folder {self.root}",
                expected="an empty one, or one in which `covary generate` began",
                got="a data set without its .covary" if gone else f"one with {others[0]} in it",
                fix="choose another folder",
            )

    @contextmanager
    def staged(self, name: str) -> Iterator[Path]:
        """An empty folder to write in, which is gone afterwards.

        Raises:
            OSError: as the system has it.
        """
        self.staging.mkdir(parents=True, exist_ok=True)
        outer = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.staging))
        try:
            yield outer
        finally:
            shutil.rmtree(outer, ignore_errors=True)

    def drop_staged(self) -> None:
        """Remove what workers and drivers left that did not come to their end."""
        shutil.rmtree(self.staging, ignore_errors=True)
        for folder in (self.root, self.state, self.records, self.previews):
            drop_leftovers(folder)
        self.make()
