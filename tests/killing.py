"""What the tests that kill share: a small job, how its folder is compared, and chance to repeat."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

import covary
from covary._seeds import Seeds

__all__ = [
    "PATIENCE",
    "SEEDS",
    "SHARDS",
    "chance",
    "content",
    "driver",
    "every_seed_once",
    "kill_nine",
    "make",
    "records",
    "wait_until",
]

SEEDS = range(40)
SHARDS = 10
PATIENCE = 60.0
"""Seconds after which a test gives up; far more than anything here takes."""

_PIPE = {
    "source": ("worlds", {"resolution": 16, "n": 3}),
    "features": "rgb",
    "clusterer": ("lloyd", {"k": 3}),
    "foreground": "border",
}


def pipeline() -> covary.Pipeline:
    """Rendered avatars of 16x16 pixels: some milliseconds a seed."""
    return covary.Pipeline(**_PIPE, device="cpu")  # type: ignore[arg-type]


def make(root: Path, **options: Any) -> covary.GenerationReport:
    """The job in this process and its workers, in ``root / "data"``."""
    job = {"shard_size": 4, "val": 0.0, "workers": 1}
    return covary.generate(pipeline(), SEEDS, root / "data", "folder", **job | options)  # type: ignore[arg-type]


@contextmanager
def driver(root: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The same job as a command; it and all that it started are gone after the block."""
    pipeline().save(root / "pipe.toml")
    command = [sys.executable, "-m", "covary", "generate", "--file", str(root / "pipe.toml")]
    command += ["--seeds", "0-39", "--format", "folder", "--shard-size", "4", "--val", "0"]
    command += ["--device", "cpu", "-o", str(root / "data"), *options]
    with (root / "driver.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    family: list[psutil.Process] = []
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        for one in (process, *family):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def content(root: Path) -> dict[str, str]:
    """Every file of the data set but covary's own state -> its sha256."""
    data = root / "data"
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.relative_to(data).parts[0] != ".covary"
    }


def every_seed_once(root: Path) -> bool:
    """Whether the manifest has each seed in one shard, and its pair or a reason."""
    lines = (root / "data" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    shards = [json.loads(line) for line in lines[1:]]
    seen = [seed for shard in shards for seed in Seeds.of(shard["seeds"])]
    return sorted(seen) == list(SEEDS)


def records(root: Path) -> int:
    """How many shards are finished."""
    return len(list((root / "data" / ".covary" / "shards").glob("*.json")))


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait for it; fail where it does not come."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited {PATIENCE:g} s for {what}"
        time.sleep(0.005)


def chance() -> random.Random:
    """Random moments. The seed is printed; give it as COVARY_KILL_SEED to repeat a run."""
    seed = int(os.environ.get("COVARY_KILL_SEED", random.SystemRandom().randrange(2**32)))
    print(f"COVARY_KILL_SEED={seed}")
    return random.Random(seed)


def kill_nine(pid: int) -> None:
    """Kill it as a power failure would, without a last word."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
