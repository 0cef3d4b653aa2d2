"""What the tables share: seeds, a folder for unfinished work, results, progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..progress import progress
from ..report import RESULTS, check_writable, write_results
from .ledger import Ledger

__all__ = ["Study", "told"]


@dataclass(frozen=True, slots=True)
class Study:
    """One table: where its results go, and on which seeds it is measured."""

    name: str
    """Of the results file, without its suffix."""
    seeds: range
    """The seeds that are reported."""
    command: str = ""
    """Makes the results again."""
    remark: str = ""
    """Kept in the results."""
    out: Path = RESULTS
    """Folder of the results."""
    work: Path = Path("bench/paper")
    """Folder of what a stopped run has done so far."""
    device: str = "auto"
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else decides on the figures, as plain data."""

    def measure(
        self, keys: Iterable[str], one: Callable[[str], Any], about: Mapping[str, Any]
    ) -> Iterator[Any]:
        """What ``one`` gives for each key, in order; what an earlier run has done is not repeated.

        Args:
            keys: unique.
            one: plain data for a key.
            about: what decides on the figures beside ``self.about``; another run with the same
                folder is refused.

        Raises:
            InputError: the folder has the unfinished work of another run.
            OutputError: a folder cannot be written.
        """
        check_writable(self.out)
        ledger = Ledger(self.work / f"{self.name}.jsonl", {**self.about, **about, **_versions()})
        todo = list(keys)
        with progress(len(todo)) as report:
            for done, key in enumerate(todo):
                report(key, done)
                found = ledger.get(key)
                if found is None:
                    found = one(key)
                    ledger.add(key, found)
                yield found

    def write(self, data: Mapping[str, Any], method: str | None) -> Path:
        """Write the results; the unfinished work is then no longer needed."""
        head = {
            "method": method,
            "command": self.command,
            "remark": self.remark,
            "seeds": len(self.seeds),
            "first_seed": self.seeds.start,
        }
        path = write_results(self.name, {**head, **data}, self.out)
        (self.work / f"{self.name}.jsonl").unlink(missing_ok=True)
        return path


def told(what: str, steps: int) -> Callable[[str, int], None]:
    """Gives a line on stderr for each tenth of a training; a terminal has the bar over all."""
    quiet, every = sys.stderr.isatty(), max(1, steps // 10)

    def report(text: str, done: int) -> None:
        if not quiet and (done % every == 0 or done == steps):
            print(f"{what}: {done}/{steps}, {text}", file=sys.stderr, flush=True)

    return report


def _versions() -> dict[str, Any]:
    """Versions that bear on figures."""
    import torch

    import covary

    return {"covary": covary.__version__, "torch": torch.__version__}
