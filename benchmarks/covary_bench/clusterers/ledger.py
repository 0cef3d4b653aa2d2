"""Rows on disk from the moment they are measured, so that a stopped run can go on."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covary.errors import InputError
from covary.files import output_folder, replacing

from ..report import check_writable
from .jobs import TRACKS, Job
from .protocol import Attempt
from .schema import FORMAT, Results, Row, Setting, Times, Track
from .store import FILE, load_results, save_results

__all__ = ["Ledger"]

_Place = tuple[str, str, Track, Setting, str]
"""What a results file has one row of: a row of other versions takes the place of the older."""

METHOD = """\
Each job is a backend on one setting in one track, and runs in fresh processes of its own: `load` is
the time of importing its packages (torch and numpy apart, which the harness needs) and making the
component, `cold` the first fit of its first process, `cached` that of its second, `warm` every
later fit, of all processes; a fit includes the conversions that a backend needs, and the device is
synchronised inside the region. The first row of a backend finds no compiled code on disk, as on a
new machine; later rows and processes find what it has kept. Every backend is handed the compact
planar summary as a pipeline stores it, in ordinary memory of its own device. Jobs of one setting
are neighbours and take turns; `busy` is how many cores others kept busy meanwhile. Compare within a
file: times of different machines, or of different hours, do not compare.

Memory is the peak of a fit above what the process held before it, the summary not counted: `host`
of the first, which also loads and compiles code, `host_warm` of the second.

Track "same start": initial centres by greedy k-means++, or random pixels where the setting says so,
drawn once per setting in numpy with the setting's seed; stop when the centres' squared shift is at
most 1e-4 times the mean variance, or after 300 passes; a row's note says where a backend cannot.
Track "defaults": k, and what the variation names; all else as the backend's authors left it.

Quality is recomputed from the labels alone, in float64: `inertia` to the labels' own means, its
ratio to the lowest of the same setting and track, and to the converged reference, which is Lloyd's
algorithm in float64 from the same initial centres until no label changes. `iou` is that of the mask
by the rule corner, upper corners for avatars and all four for rooms, as in the presets."""


class Ledger:
    """The results folder of one run.

    Args:
        folder: made if need be; ``clusterers.json`` in it is written anew after every row.
        machine: as ``report.machine`` gives it.
        command: makes the results again.
        remark: kept in them.
        resume: go on with what is there.
        force: replace what is there.

    Raises:
        InputError: results are there and neither was asked for, or they are another machine's.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        machine: dict[str, Any],
        command: str,
        remark: str = "",
        resume: bool = False,
        force: bool = False,
    ) -> None:
        self.path = check_writable(folder) / FILE
        self.unfinished = folder / ".unfinished"
        self._about: dict[str, Any] = {
            "command": command,
            "method": METHOD,
            "remark": remark,
            "machine": machine,
        }
        self._rows: dict[_Place, Row] = {}
        if self.path.exists() and not force:
            if not resume:
                raise InputError(
                    f"results in {folder}",
                    expected="none yet",
                    got=FILE,
                    fix="add --resume to go on with them, --force to replace them, or choose "
                    "another --out",
                )
            self._take_over(machine)
        if not resume:
            shutil.rmtree(self.unfinished, ignore_errors=True)
        output_folder(self.unfinished)

    def row(self, job: Job) -> Row | None:
        """The row of a job that was finished with these very versions and parameters."""
        row = self._rows.get(_place_of(job))
        if row is None or row.versions != job.backend.versions():
            return None
        same = all(row.params.get(name) == value for name, value in job.params.items())
        return row if same else None

    def attempts(self, job: Job) -> list[Attempt]:
        """What an unfinished job has come to so far."""
        try:
            found = json.loads(self._attempts_file(job).read_text(encoding="utf-8"))
            return [Attempt.model_validate(one) for one in found]
        except (OSError, ValueError, ValidationError):
            return []

    def keep(self, job: Job, attempts: Sequence[Attempt]) -> None:
        """Keep what an unfinished job has come to."""
        with replacing(self._attempts_file(job)) as temporary:
            found = [one.model_dump() for one in attempts]
            temporary.write_text(json.dumps(found), encoding="utf-8")

    def finish(self, job: Job, attempts: Sequence[Attempt]) -> Row:
        """Make the row of a job, and write the results."""
        row = _row(job, attempts)
        self._rows[_place_of(job)] = row
        self.save()
        self._attempts_file(job).unlink(missing_ok=True)
        return row

    def save(self) -> None:
        """Write the results as far as they are known."""
        save_results(self.results(), self.path)

    def results(self) -> Results:
        """The results as far as they are known."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        rows = _with_ratios(self._rows.values())
        return Results(format=FORMAT, created=created, rows=rows, **self._about)

    def close(self) -> None:
        """Remove what only an unfinished run needs."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def _take_over(self, machine: dict[str, Any]) -> None:
        before = load_results(self.path)
        if before.machine != machine:
            changed = sorted(
                name
                for name in before.machine.keys() | machine.keys()
                if before.machine.get(name) != machine.get(name)
            )
            raise InputError(
                f"results in {self.path.parent}",
                expected="ones of this machine and its versions",
                got=f"a difference in {', '.join(changed)}",
                fix="choose another --out; `covary bench report` puts several machines together",
            )
        self._rows = {_place(row): _with_ratio(row, None) for row in before.rows}
        self._about["remark"] = self._about["remark"] or before.remark
        again = f"{self._about['command']} --resume"
        commands = before.command.split("; ")
        if self._about["command"] != commands[0] and again not in commands:
            commands.append(again)
        self._about["command"] = "; ".join(commands)

    def _attempts_file(self, job: Job) -> Path:
        return self.unfinished / f"{job.key()}.json"


def _place(row: Row) -> _Place:
    return row.id, row.variation, row.track, row.setting, row.device


def _place_of(job: Job) -> _Place:
    return job.backend.id, job.backend.name, job.track, job.setting, job.device_name


def _row(job: Job, attempts: Sequence[Attempt]) -> Row:
    """One row of all processes of a job; the first that failed decides."""
    broken = next((one for one in attempts if one.status != "ok"), None)
    last = attempts[-1] if broken is None else broken
    measured: dict[str, Any] = {}
    if broken is None:
        measured = {
            "times": Times(
                load=attempts[0].load,
                cold=attempts[0].cold,
                warm=tuple(seconds for one in attempts for seconds in one.warm),
                cached=attempts[1].cold if len(attempts) > 1 else None,
            ),
            "memory": attempts[0].memory,
            "quality": attempts[0].quality,
        }
    known = [one.busy for one in attempts if one.busy is not None]
    return Row(
        id=job.backend.id,
        variation=job.backend.name,
        params=last.params or {**job.rule, **job.params},
        versions=job.backend.versions(),
        track=job.track,
        setting=job.setting,
        device=job.device_name,
        status=last.status,
        reason=last.reason,
        fix=last.fix,
        note="; ".join(filter(None, (*job.notes, last.note))),
        busy=max(known, default=None),
        **measured,
    )


def _with_ratios(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows by setting and track, each inertia as a ratio to the lowest beside it."""
    best: dict[tuple[Any, str], float] = defaultdict(lambda: float("inf"))
    for row in rows:
        if row.quality:
            group = (row.setting, row.track)
            best[group] = min(best[group], row.quality.inertia)
    return tuple(_with_ratio(row, best[row.setting, row.track]) for row in sorted(rows, key=_order))


def _with_ratio(row: Row, best: float | None) -> Row:
    if row.quality is None:
        return row
    ratio = row.quality.inertia / best if best else None
    quality = row.quality.model_copy(update={"inertia_ratio": ratio})
    return row.model_copy(update={"quality": quality})


def _order(row: Row) -> tuple[Any, ...]:
    setting = tuple(row.setting.model_dump().values())
    return *setting, TRACKS.index(row.track), row.id, row.variation, row.device
