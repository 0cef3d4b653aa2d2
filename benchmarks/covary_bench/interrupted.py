"""A data set made twice, undisturbed and under ``kill -9``: ``covary_bench.interrupted FOLDER``.

The same ``covary generate`` runs in ``FOLDER/undisturbed/set`` and in ``FOLDER/interrupted/set``.
The second is killed at random moments, exponentially distributed: one of its workers; its driver
alone; or the driver with all workers at one moment, as by a power failure. Whenever no driver is
left, or one has ended without success, the same command starts again, until it says that all is
done. Then every file of the two folders is compared, but covary's own state in ``.covary``.

``seconds`` are of the whole runs, one after the other on one machine, with all that starting again
takes; a folder that is there from before is refused, as neither its time nor its kills are known.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from covary.files import file_sha256
from covary.generation import read_manifest

from .report import RESULTS, print_table, write_results

__all__ = ["contents", "run_interrupted", "victims"]

PATIENCE = 200
"""Starts after which it is given up: something else than the kills is wrong."""


def generate(root: Path, options: list[str]) -> subprocess.Popen[bytes]:
    """The command, started, in a session of its own; what it prints is added to a log beside."""
    root.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "covary", "generate", *options, "-o", str(root)]
    with (root.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def victims(kind: str, driver: int, moments: random.Random) -> list[psutil.Process]:
    """The processes to kill: of ``worker`` one, where there is any, of ``machine`` all."""
    try:
        process = psutil.Process(driver)
        workers = process.children()
    except psutil.NoSuchProcess:
        return []
    if kind == "worker":
        return [moments.choice(workers)] if workers else []
    return [process] if kind == "driver" else [process, *workers]


def run_interrupted(
    root: Path, options: list[str], every: float, moments: random.Random
) -> tuple[Counter[str], int]:
    """Kills of each kind and the starts that it took until the command ended with 0."""
    kills: Counter[str] = Counter()
    for start in range(1, PATIENCE + 1):
        driver = generate(root, options)
        try:
            while _still_runs(driver, moments.expovariate(1 / every)):
                kind = moments.choice(["worker", "driver", "machine"])
                chosen = victims(kind, driver.pid, moments)
                for process in chosen:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                kills[kind] += bool(chosen)
        finally:
            driver.kill()  # Ctrl-C here ends it, and its workers see that it is gone
        if driver.wait() == 0:
            return kills, start
    raise SystemExit(f"not done after {PATIENCE} starts: see {root.parent / 'log.txt'}")


def contents(root: Path) -> dict[str, str]:
    """Every file of the data set -> its sha256, but those of covary's own state."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    names = ((path.relative_to(root), path) for path in files)
    return {
        name.as_posix(): file_sha256(path) for name, path in names if name.parts[0] != ".covary"
    }


def _still_runs(driver: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _undisturbed(root: Path, options: list[str]) -> None:
    driver = generate(root, options)
    try:
        status = driver.wait()
    finally:
        driver.kill()
    if status != 0:
        raise SystemExit(f"ended with {status}: see {root.parent / 'log.txt'}")


def compare(folder: Path, options: list[str], every: float, seed: int) -> dict[str, Any]:
    """What was killed, how long both took, and that they end with the same bytes.

    Raises:
        SystemExit: a file differs, or is in one folder alone.
    """
    calm, disturbed = folder / "undisturbed" / "set", folder / "interrupted" / "set"
    for root in (calm, disturbed):
        if root.exists():
            raise SystemExit(f"{root} is there from before: remove it, or give another folder")
    start = time.perf_counter()
    _undisturbed(calm, options)
    between = time.perf_counter()
    kills, starts = run_interrupted(disturbed, options, every, random.Random(seed))
    end = time.perf_counter()
    expected, found = contents(calm), contents(disturbed)
    others = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if others:
        raise SystemExit(f"other bytes after the kills: {', '.join(others)}")
    data_set, _ = read_manifest(calm)
    return {
        "kills": {kind: kills[kind] for kind in ("worker", "driver", "machine")},
        "starts": starts,
        "seconds": {"undisturbed": round(between - start), "interrupted": round(end - between)},
        "pairs": data_set.pairs,
        "files": len(expected),
        "bytes": sum((calm / name).stat().st_size for name in expected),
        "equal": True,
        "manifest_sha256": expected["manifest.jsonl"],
    }


def main() -> None:
    """Make both, compare, print what was found and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of both data sets; on a disk with room for them")
    parser.add_argument("--preset", default="avatars")
    parser.add_argument("--seeds", default="0-9999", help="as in `covary generate`")
    parser.add_argument("--format", default="webdataset", help="a writer")
    parser.add_argument("--shard-size", default=100, type=int, help="seeds a shard")
    parser.add_argument("--workers", default=2, type=int)
    parser.add_argument("--every", default=20.0, type=float, help="mean seconds between kills")
    parser.add_argument("--seed", default=0, type=int, help="of the moments and what is killed")
    parser.add_argument("--remark", default="", help="kept in the results")
    parser.add_argument("--name", default="interrupted")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    options = [
        "--preset", args.preset, "--seeds", args.seeds, "--format", args.format,
        "--shard-size", str(args.shard_size), "--workers", str(args.workers),
    ]  # fmt: skip
    found = compare(args.folder, options, args.every, args.seed)
    print_table("killed", [{"what": kind, "times": n} for kind, n in found["kills"].items()])
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.interrupted {args.folder}",
        "remark": args.remark,
        "job": " ".join(["covary generate", *options]),
        "every": args.every,
        "seed": args.seed,
        **found,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
