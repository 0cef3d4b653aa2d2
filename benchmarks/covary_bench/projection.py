"""Masks of photos by optimisation: ``python -m covary_bench.projection``.

Rendered avatars are written as PNG files, projected into the bundled generator by the source
``project``, varied by style mixing, clustered in LAB with k = 4, and judged by the upper corners.
The mask is held against the renderer's exact one. Beside the defaults, one parameter is changed at
a time; over 20 seeds, differences below 0.01 say nothing. Seconds are wall-clock time and grow
with whatever else the machine does. Seeds start at 3000; the defaults were chosen on seeds below
100.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import covary
from covary_bench.avatars.photos import measure
from covary_bench.report import RESULTS, print_table, write_results

__all__ = ["CHANGES", "main", "pipeline"]

CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "steps = 50": {"steps": 50},
    "c = 4": {"c": 4},
    "c = 6": {"c": 6},
    "no regularisation": {"to_mean": 0.0, "to_equal": 0.0},
    "start = mean code": {"starts": 0},
    "tuning_steps = 100": {"tuning_steps": 100},
}
"""Name of a row -> the parameters that differ from the source's defaults."""


def pipeline(change: dict[str, Any]) -> covary.Pipeline:
    """The pipeline that is measured, with ``change`` to its source."""
    return covary.Pipeline(
        ("project", change), "lab", ("lloyd", {"k": 4}), ("corner", {"corners": "upper"})
    )


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=3000)
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--name", default="projection")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            started = time.perf_counter()
            row = measure(pipeline(CHANGES[name]), seeds, Path(folder))
            seconds = (time.perf_counter() - started) / len(seeds)
            rows.append({"what": name, **row, "seconds_per_photo": seconds})
            print(f"{name}: mIoU {row['miou']:.4f}, {seconds:.1f} s a photo", flush=True)
    columns = ("what", "seeds", "found", "miou", "iou_foreground")
    print_table(
        "avatars projected into the bundled generator",
        [
            {column: row[column] for column in columns}
            | {"mse": row["mse"]["median"], "s/photo": row["seconds_per_photo"]}
            for row in rows
        ],
    )
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.projection --seeds {args.seeds} "
        f"--first-seed {args.first_seed}",
        "rows": rows,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
