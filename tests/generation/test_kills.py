"""Killed at any moment and started again, a data set ends as if nothing had happened."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

import covary
from covary.generation import _durable
from killing import (
    PATIENCE,
    SHARDS,
    chance,
    content,
    driver,
    every_seed_once,
    kill_nine,
    make,
    records,
    wait_until,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written: in this process nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    report = make(root)
    assert report.finished
    assert sum(report.pairs.values()) > 10
    assert every_seed_once(root)
    return content(root)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", place]).returncode:
        pytest.skip("mounting a disk is not permitted here")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


class Disk:
    """A tmpfs, whose size and mode change while it is in use."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def change(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.root], check=True)


def workers_of(pid: int) -> list[psutil.Process]:
    """The worker processes of a driver, not what they may have started."""
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def finish(root: Path, whole: dict[str, str]) -> None:
    """The same job again comes to its end, and to the same files."""
    for _ in range(3):
        report = make(root)
        if report.finished:
            break
    assert not report.given_up
    assert content(root) == whole
    assert every_seed_once(root)
    assert not list((root / "data" / ".covary" / "staging").iterdir())


@pytest.mark.parametrize(
    "kills", [2, pytest.param(12, marks=pytest.mark.acceptance)], ids=lambda kills: f"{kills}-times"
)
def test_workers_that_are_killed(tmp_path: Path, whole: dict[str, str], kills: int) -> None:
    moments, killed = chance(), list[int]()
    lock = threading.Lock()

    def kill() -> None:
        with lock:
            workers = workers_of(os.getpid())
            if workers and len(killed) < kills:
                killed.append(moments.choice(workers).pid)
                kill_nine(killed[-1])

    def progress(seen: covary.GenerationProgress) -> None:
        if moments.random() < 0.2:
            threading.Timer(moments.uniform(0, 0.05), kill).start()

    report = make(tmp_path, workers=2, progress=progress)
    print(f"killed {len(killed)}: {report}")
    assert killed
    assert report.finished or report.given_up
    finish(tmp_path, whole)


@pytest.mark.parametrize("victims", ["driver", "machine"])
def test_a_driver_that_is_killed(tmp_path: Path, whole: dict[str, str], victims: str) -> None:
    moments = chance()
    after = moments.randrange(SHARDS // 2)
    with driver(tmp_path, "--workers", "2") as process:
        wait_until(lambda: len(workers_of(process.pid)) == 2, "two workers")
        wait_until(lambda: records(tmp_path) >= after, f"{after} shards")
        time.sleep(moments.uniform(0, 0.05))
        workers = workers_of(process.pid)
        for pid in [process.pid, *[w.pid for w in workers if victims == "machine"]]:
            kill_nine(pid)
        process.wait(PATIENCE)
        _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    assert not alive, "workers went on without their driver"
    assert not (tmp_path / "data" / "manifest.jsonl").exists()
    finish(tmp_path, whole)


@pytest.mark.acceptance
@pytest.mark.parametrize("number", range(8))
def test_a_driver_that_is_killed_again_and_again(
    tmp_path: Path, whole: dict[str, str], number: int
) -> None:
    moments = chance()
    for attempt in count(1):  # each has more time: a busy machine may take long to start one
        with driver(tmp_path, "--workers", "2") as process:
            try:
                process.wait(moments.uniform(0.5, 4 * attempt))
            except subprocess.TimeoutExpired:
                kill_nine(process.pid)
            if process.wait(PATIENCE) == 0:
                break
    assert content(tmp_path) == whole
    assert every_seed_once(tmp_path)


@pytest.mark.parametrize(
    "workers", [1, pytest.param(2, marks=pytest.mark.acceptance)], ids=["here", "workers"]
)
def test_a_disk_that_is_full(disk: Disk, whole: dict[str, str], workers: int) -> None:
    """A real one: a tmpfs that holds about half of the data set."""
    disk.change("size=300k")
    with pytest.raises(covary.OutputError, match="No space left on device"):
        make(disk.root, workers=workers)
    assert 0 < records(disk.root) < SHARDS
    disk.change("size=10m")
    finish(disk.root, whole)


@pytest.mark.parametrize(
    ("number", "code"),
    [(0, errno.ENOSPC), (1, errno.EIO), (7, errno.ENOSPC), (30, errno.EROFS)],
)
def test_a_disk_that_fails_late(
    tmp_path: Path, whole: dict[str, str], number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems say only in fsync that nothing was written, which is made to here."""
    calls, fsync = iter(range(number)), os.fsync

    def fails(handle: int) -> None:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(_durable.os, "fsync", fails)
        with pytest.raises(covary.OutputError, match=os.strerror(code)):
            make(tmp_path)
    finish(tmp_path, whole)


def stop(root: Path) -> None:
    """Begin the job, and stop it at a random moment by what Ctrl-C does."""
    left = chance().randrange(1, 30)

    def progress(seen: covary.GenerationProgress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(root, progress=progress)


def test_a_run_that_is_interrupted(tmp_path: Path, whole: dict[str, str]) -> None:
    stop(tmp_path)
    finish(tmp_path, whole)


def test_a_disk_that_has_become_read_only(disk: Disk, whole: dict[str, str]) -> None:
    stop(disk.root)
    disk.change("ro")
    with pytest.raises(covary.OutputError, match="Read-only file system"):
        make(disk.root)
    disk.change("rw")
    finish(disk.root, whole)


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; see the read-only disk")
    (tmp_path / "data").mkdir(mode=0o555)
    with pytest.raises(covary.OutputError, match="Permission denied"):
        make(tmp_path)
