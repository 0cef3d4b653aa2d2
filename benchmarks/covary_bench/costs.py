"""Start-up time, seconds a query and peak memory: ``python -m covary_bench.costs``.

Start-up is a whole ``covary list`` process. Queries are timed in one process after the weights
are loaded and one query has warmed it up, preset ``avatars`` (64x64, 50 variants, LAB, k = 4).
Memory is measured in a fresh process each: the highest resident size while the work runs (VmHWM,
reset through ``/proc/self/clear_refs``) less the resident size of the process once it has loaded
everything and before it has any data. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covary.testing.memory import highest, status_bytes

from .report import RESULTS, print_table, spread, write_results

if TYPE_CHECKING:
    import covary

_MIB = 2**20


def start_up(runs: int) -> list[float]:
    """Seconds of ``covary list`` processes, after one that is not counted."""
    command = [str(Path(sys.executable).with_name("covary")), "list"]
    return [_timed(lambda: subprocess.run(command, check=True, capture_output=True))
            for _ in range(runs + 1)][1:]  # fmt: skip


def queries(runs: int) -> tuple[list[float], dict[str, float]]:
    """Seconds of single queries, and the median query's seconds by stage."""
    import covary

    pipe = covary.Pipeline.preset("avatars", device="cpu")
    pipe(seed=0)
    taken = []
    for seed in range(1, runs + 1):
        start = time.perf_counter()
        result = pipe(seed=seed)
        taken.append((time.perf_counter() - start, result.provenance["seconds"]))
    taken.sort(key=lambda pair: pair[0])
    return [seconds for seconds, _ in taken], taken[len(taken) // 2][1]


def clustering_memory(side: int, variants: int, k: int) -> dict[str, float]:
    """MiB of a ``lloyd`` fit above the process and the compact tensor, on a rendered scene."""
    import covary

    _warm_up(k)
    before = status_bytes("VmRSS")
    summary = _pipeline(side, variants, k).summarise(seed=1000)
    clusterer = covary.create("lloyd", k=k)
    peak, seconds = highest(lambda: clusterer.fit(summary))
    return _memory_row(summary.nbytes, summary.pixels * summary.features, peak - before, seconds)


def pipeline_memory(side: int, variants: int, k: int) -> dict[str, float]:
    """MiB of a whole run above the process before it; the compact tensor is part of it."""
    _warm_up(k)
    before = status_bytes("VmRSS")
    pipe = _pipeline(side, variants, k)
    plan = pipe.plan()
    peak, seconds = highest(lambda: pipe(seed=1000))
    return _memory_row(plan.summary_bytes, side * side * plan.features, peak - before, seconds)


def _pipeline(side: int, variants: int, k: int) -> covary.Pipeline:
    import covary

    source = ("worlds", {"resolution": side, "n": variants})
    return covary.Pipeline(source, "lab", ("lloyd", {"k": k}), "corner", device="cpu")


def _warm_up(k: int) -> None:
    """Load everything that a run loads."""
    _pipeline(32, 8, k)(seed=1000)


def _memory_row(compact: int, values: int, peak: int, seconds: float) -> dict[str, float]:
    return {
        "compact_mib": compact / _MIB,
        "float32_mib": values * 4 / _MIB,
        "peak_mib": peak / _MIB,
        "extra_mib": (peak - compact) / _MIB,
        "seconds": seconds,
    }


def main() -> None:
    """Measure, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=["clustering_memory", "pipeline_memory"])
    args = parser.parse_args()
    if args.only:
        import json

        print(json.dumps(globals()[args.only](args.side, args.variants, args.k)))
        return
    listing, (seconds, stages) = start_up(args.runs), queries(args.runs)
    timed = [
        {"what": "covary list", **spread(listing)},
        {"what": "one avatars query", **spread(seconds)},
    ]
    memory = [
        {"what": name, **_in_fresh_process(name, args)}
        for name in ("clustering_memory", "pipeline_memory")
    ]
    print_table("seconds", timed)
    print_table(f"MiB at {args.side}x{args.side}, n = {args.variants}, k = {args.k}", memory)
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.costs --runs {args.runs} --side {args.side} "
        f"--variants {args.variants} --k {args.k}",
        "seconds": timed,
        "median_query_stages": stages,
        "memory": memory,
    }
    print(write_results("costs", data, args.out))


def _in_fresh_process(name: str, args: argparse.Namespace) -> dict[str, Any]:
    import json

    command = [sys.executable, "-m", "covary_bench.costs", "--only", name]
    for option in ("side", "variants", "k"):
        command += [f"--{option}", str(getattr(args, option))]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
