"""Measures every case, prints the table and writes the results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covary_bench.progress import progress
from covary_bench.quality import summarise
from covary_bench.report import RESULTS, check_writable, print_table, write_results

from . import CASES, Case
from . import __doc__ as method
from .cases import SIDE
from .scenes import VARIANTS, judge

__all__ = ["main", "measure"]

FIRST_SEED = 1000


def measure(case: Case, seeds: Sequence[int], side: int = SIDE) -> list[dict[str, Any]]:
    """A row for each setting of the case."""
    rows = []
    for setting in case.settings:
        scores = [setting.run(seed, side).score for seed in seeds]
        rows.append(
            {"case": case.name, "what": setting.what, "works": setting.works, **summarise(scores)}
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(
        prog="python -m covary_bench.limits", description=(method or "").splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=50, help="images for each setting")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "limits.json")
    args = parser.parse_args(argv)
    check_writable(args.out.parent)
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    rows = []
    with progress(len(CASES)) as report:
        for done, case in enumerate(CASES):
            report(case.name, done)
            rows += measure(case, seeds)
    columns = ("case", "what", "works", "found", "miou", "iou_foreground")
    print_table(
        f"limits, {args.seeds} seeds", [{column: row[column] for column in columns} for row in rows]
    )
    data = {
        "method": method,
        "command": f"python -m covary_bench.limits --seeds {args.seeds}",
        "first_seed": FIRST_SEED,
        "side": SIDE,
        "variants": VARIANTS,
        "judge": asdict(judge()[1]),
        "rows": rows,
    }
    print(write_results(args.out.stem, data, args.out.parent))


if __name__ == "__main__":
    main()
