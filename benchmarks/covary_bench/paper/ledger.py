"""What a stopped run has measured so far, a line for each seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covary.errors import InputError
from covary.files import output_folder, unwritable

__all__ = ["Ledger"]


class Ledger:
    """A file of JSON Lines: what the run is about, then an entry for each thing measured.

    A line that was cut off by a crash is measured again.

    Args:
        path: made if need be, with its folder.
        about: everything that decides on the figures, as plain data.

    Raises:
        InputError: the file there is of another run.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self._entries: dict[str, Any] = {}
        about = json.loads(json.dumps(about))
        output_folder(path.parent)
        lines = _whole_lines(path)
        # What has measured nothing yet keeps nobody from beginning anew.
        if len(lines) > 1 and lines[0] != about:
            raise InputError(
                f"unfinished run {path}",
                expected="one of the same command and versions",
                got=_difference(lines[0], about),
                fix="remove that file to begin anew, or choose another --work",
            )
        for key, value in lines[1:]:
            self._entries[key] = value
        # Rewritten, so that what was cut off does not stay in the middle of the file.
        rows = [about, *([key, value] for key, value in self._entries.items())]
        try:
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        except OSError as error:
            raise unwritable(path, error) from error

    def get(self, key: str) -> Any:
        """What was measured for a key; None if nothing was."""
        return self._entries.get(key)

    def add(self, key: str, value: Any) -> None:
        """Keep what was measured, on disk before this returns."""
        self._entries[key] = json.loads(json.dumps(value))
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps([key, value])}\n")
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Remove what only an unfinished run needs."""
        self.path.unlink(missing_ok=True)


def _whole_lines(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unwritable(path, error) from error
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _difference(before: Any, now: Mapping[str, Any]) -> str:
    names = before if isinstance(before, dict) else {}
    changed = [name for name in {**now, **names} if names.get(name) != now.get(name)]
    return f"another {', '.join(sorted(changed))}"
