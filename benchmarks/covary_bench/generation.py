"""Pairs a second of data sets, by queries together and by workers: ``covary_bench.generation``.

*Together*: one process, one thread for arithmetic, ``Pipeline.map`` over the same seeds with 1, 2,
4, 8 and 16 queries in shared batches, in turns, several rounds after one that warms up. Images a
second count the variants and X_0.

*Workers*: whole runs of ``covary.generate`` into a new folder, by processes of this machine and by
actors of Ray. The seconds of a shard, its files included, are what its worker measured; start-up
is what the run took beyond the busiest worker. Efficiency is the rate at work over that of one
local worker times their number.

*Stages*: seconds a pair by one worker, as the provenance of results tells them; ``files`` is what
a pair takes in a shard beyond its stages: writer, filters, hashes, and waiting for the disk.

The cost is that of the workers' hours at work, at a stated price for one worker's core (or share
of a GPU), without start-up.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .progress import progress
from .report import RESULTS, print_table, spread, write_results

if TYPE_CHECKING:
    import covary
    from covary.generation import Executor

__all__ = ["cost", "main", "runs", "stages", "together"]

PAIRS = 10_000
"""For which the cost is told."""


def together(
    pipe: covary.Pipeline, seeds: Sequence[int], groups: Sequence[int], rounds: int, price: float
) -> list[dict[str, Any]]:
    """A row for each number of queries together: pairs and images a second, cost, planned memory.

    Args:
        pipe: on the device to measure.
        seeds: of the queries; each group size runs over all of them.
        groups: numbers of queries together.
        rounds: how often, in turns, so that a busy minute meets all of them.
        price: of an hour of the one worker.
    """
    rates: dict[int, list[float]] = {group: [] for group in groups}
    with one_thread(), progress(rounds * len(groups)) as report:
        for group in groups:
            _drain(pipe, seeds[:group], group)
        for round_ in range(rounds):
            for number, group in enumerate(groups):
                report(f"{group} together", round_ * len(groups) + number)
                start = time.perf_counter()
                _drain(pipe, seeds, group)
                rates[group].append(len(seeds) / (time.perf_counter() - start))
    images = pipe.source.params.n + 1
    return [
        {
            "together": group,
            "pairs_per_second": spread(found),
            "images_per_second": statistics.median(found) * images,
            "cost_per_10000": cost(statistics.median(found), price),
            "planned_bytes": pipe.plan(together=group).peak_bytes,
        }
        for group, found in rates.items()
    ]


def runs(
    pipe: covary.Pipeline,
    seeds: Sequence[int],
    workers: Sequence[int],
    ways: Sequence[str],
    together: int,
    shard_size: int,
    price: float,
) -> list[dict[str, Any]]:
    """A row for each way and number of workers: rate, start-up, efficiency, cost."""
    rows = []
    settings = [(way, number) for way in ways for number in workers]
    with progress(len(settings)) as report:
        for done, (way, number) in enumerate(settings):
            report(f"{number} workers, {way}", done)
            with tempfile.TemporaryDirectory(prefix="covary-bench-") as folder:
                rows.append(
                    _run(pipe, seeds, Path(folder, "data"), way, number, together, shard_size)
                )
    alone = next((row for row in rows if row["on"] == "local" and row["workers"] == 1), rows[0])
    for row in rows:
        rate = row["pairs_per_second"]
        share = rate / row["workers"]
        row["efficiency"] = share / (alone["pairs_per_second"] / alone["workers"])
        row["cost_per_10000"] = cost(share, price)
    return rows


def stages(pipe: covary.Pipeline, seeds: Sequence[int], shard_seconds: float) -> dict[str, float]:
    """Milliseconds a pair of each stage and of its files.

    Args:
        pipe: as above.
        seeds: of some queries; the first warms up.
        shard_seconds: seconds a pair of a run by one worker.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    whole = []
    with one_thread():
        results = pipe.replace(soft=True).map(seeds)  # as in a data set, for the confidence
        next(results)
        while True:
            start = time.perf_counter()
            result = next(results, None)
            if result is None:
                break
            whole.append(time.perf_counter() - start)
            for stage, taken in result.provenance["seconds"].items():
                seconds[stage].append(taken)
    found = {stage: 1e3 * statistics.median(taken) for stage, taken in seconds.items()}
    pair = 1e3 * statistics.median(whole)
    found["between stages"] = pair - sum(found.values())
    found["files"] = 1e3 * shard_seconds - pair
    return found


def cost(rate: float, price: float) -> float:
    """Of 10,000 pairs by a worker that makes ``rate`` a second and costs ``price`` an hour."""
    return PAIRS / rate / 3600 * price


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for arithmetic in the block, as every worker has."""
    from covary.generation import single_thread

    with single_thread():
        yield


def _drain(pipe: covary.Pipeline, seeds: Sequence[int], group: int) -> None:
    for _ in pipe.map(seeds, together=group):
        pass


def _run(
    pipe: covary.Pipeline,
    seeds: Sequence[int],
    root: Path,
    way: str,
    workers: int,
    together: int,
    shard_size: int,
) -> dict[str, Any]:
    import covary

    start = time.perf_counter()
    report = covary.generate(
        pipe, seeds, root, "webdataset", val=0, shard_size=shard_size, together=together,
        on=_executor(way, workers, str(pipe.device)),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    busy: dict[str, float] = defaultdict(float)
    for path in (root / ".covary" / "shards").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        busy[record["worker"]] += record["seconds"]
    longest = max(busy.values())
    files = root.glob("*.tar")
    return {
        "on": way,
        "workers": workers,
        "seeds": len(seeds),
        "pairs": sum(report.pairs.values()),
        "seconds": seconds,
        "start_up_seconds": seconds - longest,
        "pairs_per_second": len(seeds) / longest,
        "images_per_second": len(seeds) * (pipe.source.params.n + 1) / longest,
        "bytes_per_pair": sum(path.stat().st_size for path in files) / len(seeds),
    }


def _executor(way: str, workers: int, device: str) -> Executor:
    """Workers that are processes of their own even where there is one."""
    from covary.generation import LocalExecutor, RayExecutor

    if way == "local":
        return LocalExecutor(workers)
    share = 1 / workers if device.startswith("cuda") else None
    return RayExecutor(workers, gpu_share=share)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write the results."""
    import covary

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="avatars")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=240, help="of a run; a shard is a tenth")
    parser.add_argument("--group-seeds", type=int, default=32, help="of a round of shared batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--on", nargs="+", choices=["local", "ray"], default=["local", "ray"])
    parser.add_argument("--run-together", type=int, default=1, help="queries together in runs")
    parser.add_argument("--price", type=float, default=0.05, help="of a worker's hour")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--remark", default="", help="kept in the results")
    parser.add_argument("--name", default="generation")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = sys.argv[1:] if arguments is None else arguments
    args = parser.parse_args(given)

    pipe = covary.Pipeline.preset(args.preset, device=args.device)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    some = seeds[: args.group_seeds]
    shard_size = max(1, args.seeds // 10)
    shared = together(pipe, some, args.together, args.rounds, args.price)
    whole = runs(pipe, seeds, args.workers, args.on, args.run_together, shard_size, args.price)
    split = stages(pipe, some, 1 / whole[0]["pairs_per_second"] * whole[0]["workers"])
    data = {
        "method": __doc__,
        "command": shlex.join(["python", "-m", "covary_bench.generation", *given]),
        "remark": args.remark,
        "preset": args.preset,
        "device": args.device,
        "size": list(pipe.source.size()),  # type: ignore[attr-defined]
        "variants": pipe.source.params.n,
        "price_per_worker_hour": args.price,
        "group_seeds": len(some),
        "together": shared,
        "runs": whole,
        "milliseconds_per_pair": split,
    }
    _print(data)
    print(write_results(args.name, data, args.out))


def _print(data: Mapping[str, Any]) -> None:
    print_table("queries together", [
        {**row, "pairs_per_second": row["pairs_per_second"]["median"]} for row in data["together"]
    ])  # fmt: skip
    print_table("whole runs", data["runs"])
    print_table("milliseconds a pair", [data["milliseconds_per_pair"]])


if __name__ == "__main__":
    main()
