"""What each idea in ``lloyd`` is worth: ``python -m covary_bench.lloyd``.

A rendered avatar of 1024x1024 pixels, 50 variants, LAB as a pipeline stores it (planar float16),
clustered from the same k-means++ centres each time, and one thing changed at a time. All ways take
turns in one process, after a first turn that is not counted and in which everything compiles.
``ratio`` is the median of the seconds over those of the way chosen, turn by turn.

``passes``: one pass over all pixels from centres that are already right, alone: the assignment and
sums of a first pass, and a later one that the bounds cut short. ``read`` is the time in which this
machine moves as many bytes as the summary has, at the rate of a large copy (bytes read and
written): the least that any pass could take.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import covary
from covary_plugins.clusterers._coarse import grid, moments
from covary_plugins.clusterers._numba_engine import NumbaEngine, NumbaRuns

from .ceilings import Timer, copy_rate
from .report import RESULTS, print_table, spread, write_results

__all__ = ["changes", "measure", "passes"]


def changes(summary: covary.StyleSummary, k: int) -> dict[str, Callable[[], object]]:
    """Name of each change, the way chosen first -> a fit in that way, from the same centres."""
    start = _start(summary, k)

    def fit(data: covary.StyleSummary = summary, **params: Any) -> Callable[[], object]:
        return partial(covary.create("lloyd", k=k, **params).fit_from, data, start)

    planar, pixels = summary.data.T.contiguous(), summary.data.contiguous()

    def stored(data: torch.Tensor) -> covary.StyleSummary:
        return covary.StyleSummary(data, summary.size)

    return {
        "as chosen": fit(),
        "all pixels from the start (coarse = 1)": fit(coarse=1),
        "every pass reads every tile: no bounds": _with(_no_bounds, fit()),
        "neither of the two": _with(_no_bounds, fit(coarse=1)),
        "one thread": _with(_one_thread, fit()),
        "in torch": fit(engine="torch"),
        "stored pixel by pixel, float16": fit(stored(pixels)),
        "stored in planes, float32": fit(stored(planar.float().T)),
        "stored pixel by pixel, float32": fit(stored(pixels.float())),
    }


def measure(
    ways: Mapping[str, Callable[[], object]], repeats: int, timer: Timer
) -> list[dict[str, Any]]:
    """A row for each way: its seconds, and their ratio to those of the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            seconds = timer(work)
            if turn:
                taken[name].append(seconds)
    chosen = next(iter(taken.values()))
    return [
        {
            "what": name,
            "ratio": statistics.median(a / b for a, b in zip(times, chosen, strict=True)),
            "seconds": spread(times),
        }
        for name, times in taken.items()
    ]


def passes(summary: covary.StyleSummary, k: int, repeats: int, timer: Timer) -> dict[str, Any]:
    """Seconds of a first and of a later pass over all pixels, and of reading them."""
    offset, _ = moments(grid(summary))
    found = covary.create("lloyd", k=k).fit_from(summary, _start(summary, k))
    centers = (found.centers - offset)[None].to(torch.float64)
    first, later = [], []
    engine = NumbaEngine(summary, offset)
    for _ in range(repeats + 1):
        runs = NumbaRuns(centers, engine)
        first.append(timer(lambda runs=runs: runs.assign([0])))  # type: ignore[misc]
        runs.update([0])
        later.append(timer(lambda runs=runs: runs.assign([0])))  # type: ignore[misc]
    return {
        "first": spread(first[1:]),
        "later": spread(later[1:]),
        "read": summary.nbytes / copy_rate(timer),
    }


def _start(summary: covary.StyleSummary, k: int) -> torch.Tensor:
    """k-means++ centres, float32 (K, D)."""
    sample = grid(summary)
    offset, _ = moments(sample)
    seeds = NumbaEngine(sample, offset).seeds(k, 1, torch.Generator().manual_seed(0))
    return seeds[0].to(torch.float32) + offset


def _with(changed: Callable[[], Any], work: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with changed():
            return work()

    return run


@contextmanager
def _no_bounds() -> Iterator[None]:
    """Every tile's labels may change in every pass."""
    assign = NumbaRuns.assign

    def forgetful(self: NumbaRuns, active: list[int]) -> list[int]:
        self.expiry[:] = -np.inf
        return assign(self, active)

    with mock.patch.object(NumbaRuns, "assign", forgetful):
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    with mock.patch.object(torch, "get_num_threads", return_value=1):
        yield


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--k", nargs="+", type=int, default=[3, 8])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--remark", default="", help="kept in the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    source = ("worlds", {"resolution": args.side, "n": args.variants})
    pipe = covary.Pipeline(source, "lab", "lloyd", "corner", device="cpu")
    summary = pipe.summarise(seed=1000)
    timer = Timer(torch.device("cpu"))
    rows, alone = [], {}
    for k in args.k:
        found = measure(changes(summary, k), args.repeats, timer)
        rows += [{"k": k, **row} for row in found]
        alone[str(k)] = passes(summary, k, args.repeats, timer)
    print_table(
        f"lloyd at {args.side}x{args.side}, {args.variants} variants",
        [{"k": r["k"], "": r["what"], "s": r["seconds"]["median"], "x": r["ratio"]} for r in rows],
    )
    command = f"python -m covary_bench.lloyd --side {args.side} --variants {args.variants}"
    command += f" --k {' '.join(map(str, args.k))} --repeats {args.repeats}"
    data = {
        "method": __doc__,
        "command": command,
        "remark": args.remark,
        "rows": rows,
        "passes": alone,
    }
    print(write_results("lloyd", data, args.out))


if __name__ == "__main__":
    main()
