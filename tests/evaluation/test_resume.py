"""A stopped evaluation goes on, does nothing twice, and ends as an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import covary
from covary import InputError, OutputError
from covary.cli import cli
from covary.evaluation import Entry, EvaluationProgress, LabelMap, Rules, compare
from covary.evaluation._ledger import UNFINISHED
from covary.testing.contracts._full_disk import files_end_at

REPORTS = ("per-image.csv", "summary.json", "report.html")


class Maps:
    """Random masks of a few images; counts what is read, and stops where it is told."""

    classes = ("background", "hair", "skin")

    def __init__(self, count: int, seed: int = 0, *, images: bool = False) -> None:
        draw = torch.Generator().manual_seed(seed)
        size = (12, 10)
        self.labels = torch.randint(0, 3, (count, *size), generator=draw, dtype=torch.uint8)
        self.pictures = torch.randint(0, 256, (count, 3, *size), generator=draw, dtype=torch.uint8)
        self.images, self.read, self.stop_at = images, list[str](), ""
        self.stamps = dict[str, str]()
        self.version = "1"

    def __len__(self) -> int:
        return len(self.labels)

    def entries(self) -> Iterator[Entry]:
        for number in range(len(self)):
            name = str(number)
            yield Entry(name, lambda name=name: self.load(name), self.stamps.get(name, ""))  # type: ignore[misc]

    def load(self, name: str) -> LabelMap:
        if name == self.stop_at:
            raise KeyboardInterrupt
        self.read.append(name)
        image = self.pictures[int(name)] if self.images else None
        return LabelMap(name, self.labels[int(name)], image, found=name != "4")

    def describe(self) -> dict[str, Any]:
        return {"kind": "maps"}

    def fingerprint(self) -> dict[str, Any]:
        return {"version": self.version}


def stopped(folder: Path, at: str, count: int = 10, **options: Any) -> Maps:
    """What was compared until it stopped at a name."""
    ours = Maps(count, 1, images=True)
    ours.stop_at = at
    with pytest.raises(KeyboardInterrupt):
        compare(ours, Maps(count, 2), keep_in=folder, **options)
    ours.stop_at = ""
    return ours


def saved(evaluation: covary.Evaluation, folder: Path) -> list[bytes]:
    evaluation.save(folder)
    return [(folder / name).read_bytes() for name in REPORTS]


@pytest.mark.parametrize(("at", "worst"), [("0", 3), ("1", 3), ("7", 3), ("9", 12), ("5", 0)])
def test_goes_on_and_ends_as_an_undisturbed_one(at: str, worst: int, tmp_path: Path) -> None:
    ours = stopped(tmp_path / "a", at, worst=worst)
    before = list(ours.read)
    resumed = compare(ours, Maps(10, 2), keep_in=tmp_path / "a", worst=worst)
    assert ours.read == [str(number) for number in range(10)]
    assert before == ours.read[: len(before)]
    whole = compare(Maps(10, 1, images=True), Maps(10, 2), worst=worst)
    assert saved(resumed, tmp_path / "a") == saved(whole, tmp_path / "b")
    assert not (tmp_path / "a" / UNFINISHED).exists()


def test_may_stop_many_times(tmp_path: Path) -> None:
    ours = stopped(tmp_path / "a", "2", worst=2)
    for at in ("5", "6"):
        ours.stop_at = at
        with pytest.raises(KeyboardInterrupt):
            compare(ours, Maps(10, 2), keep_in=tmp_path / "a", worst=2)
    ours.stop_at = ""
    resumed = compare(ours, Maps(10, 2), keep_in=tmp_path / "a", worst=2)
    assert ours.read == [str(number) for number in range(10)]
    kept = list((tmp_path / "a" / UNFINISHED / "pairs").iterdir())
    assert len(kept) == 2
    whole = compare(Maps(10, 1, images=True), Maps(10, 2), worst=2)
    assert saved(resumed, tmp_path / "a") == saved(whole, tmp_path / "b")


def test_a_line_that_was_cut_short_is_none(tmp_path: Path) -> None:
    ours = stopped(tmp_path, "6")
    path = tmp_path / UNFINISHED / "judged.jsonl"
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for cut in (last + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        ours.read.clear()
        ours.stop_at = "7"
        with pytest.raises(KeyboardInterrupt):
            compare(ours, Maps(10, 2), keep_in=tmp_path)
        assert ours.read == ["5", "6"]
    assert len(path.read_bytes().splitlines()) == 8


def test_what_the_report_needs_is_read_again_where_it_is_gone(tmp_path: Path) -> None:
    ours = stopped(tmp_path, "9", worst=4)
    ours.read.clear()
    one, other, *_ = (tmp_path / UNFINISHED / "pairs").iterdir()
    one.unlink()
    other.write_bytes(other.read_bytes()[:99])
    # More are asked for than were kept.
    resumed = compare(ours, Maps(10, 2), keep_in=tmp_path, worst=5)
    assert ours.read[0] == "9"
    assert len(ours.read) in (3, 4)
    whole = compare(Maps(10, 1, images=True), Maps(10, 2), worst=5)
    assert set(ours.read) - {"9"} < {pair.name for pair in whole.worst}
    assert saved(resumed, tmp_path / "a") == saved(whole, tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        {"rules": Rules(trimap_width=2)},
        {"masks": True},
        {"merge": {"head": ("hair", "skin")}},
        {"ignore": 2},
        {"version": "2"},
    ],
)
def test_another_command_begins_anew(change: dict[str, Any], tmp_path: Path) -> None:
    ours = stopped(tmp_path, "6")
    ours.read.clear()
    ours.version = change.pop("version", "1")
    compare(ours, Maps(10, 2), keep_in=tmp_path, **change)
    assert len(ours.read) == 10


def test_files_that_have_changed_are_judged_again(tmp_path: Path) -> None:
    ours = stopped(tmp_path, "6")
    ours.read.clear()
    ours.stamps["3"] = "another"
    said: list[EvaluationProgress] = []
    compare(ours, Maps(10, 2), keep_in=tmp_path, progress=said.append)
    assert ours.read == ["3", "6", "7", "8", "9"]
    assert (said[0].kept, said[-1].kept) == (6, 5)
    assert (said[-1].done, said[-1].images) == (10, 10)


def test_an_image_that_has_become_better_leaves_its_place_to_another(tmp_path: Path) -> None:
    ours, theirs = Maps(10, 1, images=True), Maps(10, 2)
    whole = compare(ours, theirs, worst=10)
    worst = [pair.name for pair in whole.worst]
    ours.stop_at = "9"
    with pytest.raises(KeyboardInterrupt):
        compare(ours, theirs, keep_in=tmp_path, worst=3)
    ours.stop_at = ""
    better = next(name for name in worst if name != "9")
    ours.labels[int(better)] = theirs.labels[int(better)]
    ours.stamps[better] = "another"
    resumed = compare(ours, theirs, keep_in=tmp_path, worst=3)
    again = compare(ours, theirs, worst=3)
    assert saved(resumed, tmp_path / "a") == saved(again, tmp_path / "b")


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    ours = Maps(6, 1)
    real, ours.stop_at = ours.load, "4"

    def load(name: str) -> LabelMap:
        if name == "1" and ours.stop_at:
            raise InputError("mask 1", got="rubbish")
        return real(name)

    ours.load = load  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        compare(ours, Maps(6, 2), keep_in=tmp_path)
    ours.stop_at = ""
    evaluation = compare(ours, Maps(6, 2), keep_in=tmp_path)
    assert [row.name for row in evaluation.images] == list("012345")
    assert not evaluation.problems["failed"]
    assert ours.read == ["0", "2", "3", "1", "4", "5"]


def test_two_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covary._locks.PATIENCE", 0.01)
    ours = Maps(1, 1)

    def load(name: str) -> LabelMap:
        compare(Maps(1, 1), Maps(1, 2), keep_in=tmp_path)
        raise AssertionError

    ours.load = load  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"another `covary eval` at work"):
        compare(ours, Maps(1, 2), keep_in=tmp_path)


def test_a_full_disk_stops_it_and_costs_nothing(tmp_path: Path) -> None:
    ours = Maps(10, 1, images=True)
    with files_end_at(3000), pytest.raises(OutputError, match=r"judged\.jsonl"):
        compare(ours, Maps(10, 2), keep_in=tmp_path / "a")
    before = len(ours.read)
    assert 2 < before < 10
    resumed = compare(ours, Maps(10, 2), keep_in=tmp_path / "a")
    assert len(ours.read) == 11  # the one that did not fit is judged again
    whole = compare(Maps(10, 1, images=True), Maps(10, 2))
    assert saved(resumed, tmp_path / "a") == saved(whole, tmp_path / "b")


def test_nothing_is_left_of_what_judged_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="some of one name"):
        compare(Maps(0), Maps(3), keep_in=tmp_path)
    assert not list(tmp_path.iterdir())


def masks(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    draw = np.random.RandomState(seed)
    for number in range(count):
        values = (draw.rand(96, 96) < 0.5).astype(np.uint8) * 255
        Image.fromarray(values).save(folder / f"{number:04d}.png")
    return folder


def test_the_command_resumes_after_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = masks(tmp_path / "ours", 5, 1), masks(tmp_path / "theirs", 5, 2)
    arguments = ["eval", str(ours), str(theirs), "-o", str(tmp_path / "judged")]
    from covary.evaluation.inputs import _masks

    real = _masks.read_values

    def read(path: Path) -> torch.Tensor:
        if path.stem == "0003":
            raise KeyboardInterrupt
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(_masks, "read_values", read)
        first = CliRunner().invoke(cli, arguments)
    assert first.exit_code == 130
    assert first.stderr == "stopped: 3 of 5 images are judged; the same command resumes\n"
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == 0
    assert again.stderr == "3 of 5 images were judged before\n"
    CliRunner().invoke(cli, [*arguments[:-1], str(tmp_path / "whole")])
    for name in REPORTS:
        one, other = ((tmp_path / out / name).read_bytes() for out in ("judged", "whole"))
        assert one == other


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_kills_cost_nothing(tmp_path: Path) -> None:
    ours, theirs = masks(tmp_path / "ours", 60, 1), masks(tmp_path / "theirs", 60, 2)
    arguments = ["eval", str(ours), str(theirs), "-o", str(tmp_path / "judged")]
    journal = tmp_path / "judged" / UNFINISHED / "judged.jsonl"
    start = "import sys; sys.path[:] = eval(sys.argv.pop(1)); from covary.cli import main; main()"
    command = [sys.executable, "-c", start, repr(sys.path), *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
            assert time.monotonic() < until
            assert process.poll() is None, "it was too quick to be killed"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    lines = journal.read_bytes().count(b"\n")
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == 0
    assert again.stderr == f"{lines - 1} of 60 images were judged before\n"
    CliRunner().invoke(cli, [*arguments[:-1], str(tmp_path / "whole")])
    for name in REPORTS:
        one, other = ((tmp_path / out / name).read_bytes() for out in ("judged", "whole"))
        assert one == other


def test_progress_tells_rate_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("covary._cli.pace._EVERY", 0.0)
    ours, theirs = masks(tmp_path / "ours", 3, 1), masks(tmp_path / "theirs", 3, 2)
    arguments = ["eval", str(ours), str(theirs), "-o", str(tmp_path / "judged"), "--json"]
    done = CliRunner().invoke(cli, arguments)
    assert json.loads(done.stdout)["counts"]["images"] == 3
    lines = done.stderr.splitlines()
    assert lines[0] == "0 of 3 images"
    assert lines[-1].startswith("3 of 3 images, ")
    assert lines[-1].endswith("/s, 0 s left")
