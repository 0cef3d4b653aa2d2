"""Segments many queries: keeps what is finished, goes on after a failure, stops cleanly."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._failures import HOPELESS, in_words
from .output import Report, raising, remark
from .resume import Finished

if TYPE_CHECKING:
    from ..pipeline import Pipeline
    from ..types import Query

__all__ = ["Batch", "Outcome", "writable_folder"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one query."""

    query: Query
    folder: Path
    status: str
    """``done``, ``kept`` from an earlier run, or ``failed``."""
    provenance: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def found(self) -> bool:
        """Whether it has a confident foreground."""
        return bool(self.provenance.get("result", {}).get("found"))

    @property
    def labels(self) -> list[str]:
        """The label of each detected object."""
        objects = self.provenance.get("result", {}).get("objects", ())
        return [one["label"] for one in objects]

    def data(self) -> dict[str, Any]:
        """As plain data, for ``summary.json``."""
        query = self.query
        asked = query.seed if query.kind == "seed" else [str(path) for path in query.paths]
        data: dict[str, Any] = {"name": query.name, "query": asked, "status": self.status}
        if self.status == "failed":
            return data | {"error": self.error}
        result, image = self.provenance["result"], self.provenance["image"]
        return data | {
            "folder": self.folder.name,
            "found": result["found"],
            "reason": result["reason"],
            "metrics": image.get("metrics", {}),
            "warnings": image.get("warnings", []),
            "seconds": round(sum(self.provenance["seconds"].values()), 3),
        }


@dataclass(slots=True)
class Batch:
    """The queries of one command, and what has become of them so far."""

    pipeline: Pipeline
    queries: Sequence[Query]
    out: Path
    seed: int | None = None
    force: bool = False
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, next_step: Callable[[str], None], progress: Report) -> None:
        """Do all queries, in order.

        Args:
            next_step: called with a name before each.
            progress: handed to the pipeline.

        Raises:
            CovaryError: what would fail for every other query as well.
            KeyboardInterrupt: Ctrl-C; results already written are whole.
        """
        finished = Finished(self.pipeline.recipe, self.seed)
        said: set[str] = set()
        for query in self.queries:
            next_step(query.name)
            folder = self.out / query.name
            saved = None if self.force else finished.look(folder, query)
            if saved is not None:
                self.outcomes.append(Outcome(query, folder, "kept", saved))
                continue
            try:
                self._segment(query, folder, progress)
            except HOPELESS:
                raise
            except Exception as error:
                if raising():
                    raise
                words = in_words(error)
                self.outcomes.append(Outcome(query, folder, "failed", error=words))
                if words not in said:
                    remark(f"error: {query.name}: {words}")
                said.add(words)

    def count(self, status: str) -> int:
        """How many queries ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def objects(self) -> dict[str, int]:
        """How many objects of each label were detected, the most frequent first."""
        return dict(Counter(label for one in self.outcomes for label in one.labels).most_common())

    def unused_classes(self) -> list[str]:
        """What to say of classes whose label the detector gave in no image."""
        classes, given = self.pipeline.recipe.classes, self.objects()
        if not given:
            return []
        return [
            f"class {label!r} has stages of its own, but the detector gave no such label; "
            f"it gave {', '.join(map(repr, given))}"
            for label in classes
            if label not in given
        ]

    def _segment(self, query: Query, folder: Path, progress: Report) -> None:
        result = self.pipeline(query, seed=self.seed, progress=progress)
        with _uninterrupted():
            result.save(folder)
            self.outcomes.append(Outcome(query, folder, "done", result.provenance))
        for warning in result.provenance["image"]["warnings"]:
            remark(f"warning: {query.name}: {warning}")


def writable_folder(path: str) -> Path:
    """The folder ``path``, made if need be, after a file could be written to it.

    Raises:
        OutputError: it cannot be made or written.
    """
    from ..images import output_folder, unwritable

    folder = output_folder(path)
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"covary")
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C inside the block takes effect at its end, so that files are written whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def note(number: int, frame: object) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
