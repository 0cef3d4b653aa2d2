"""What every benchmark writes: one JSON file with its method and machine, one short table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "RESULTS",
    "check_writable",
    "filled",
    "machine",
    "markdown_table",
    "print_table",
    "seeds_parser",
    "spread",
    "write_results",
]

RESULTS = Path(__file__).parents[1] / "results"
"""Where committed results live in a checkout."""

_PIPED_WIDTH = 160
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def seeds_parser(method: str, name: str, resolution: int) -> argparse.ArgumentParser:
    """The options of a benchmark over seeds of rendered scenes.

    Args:
        method: what help prints, and the results state.
        name: of the results' file, without its suffix.
        resolution: side of the images in pixels, by default.
    """
    parser = argparse.ArgumentParser(description=method)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--resolution", type=int, default=resolution)
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--name", default=name)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def machine() -> dict[str, Any]:
    """The machine and the versions that bear on a figure."""
    import torch

    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    for name in ("covary", "torch", "numpy", "kornia", "faiss-cpu", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Median, quartiles and extremes of repeated measurements."""
    ordered = sorted(values)
    # quantiles() wants two values or more.
    low, middle, high = (
        statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    )
    return {
        "runs": len(ordered),
        "min": ordered[0],
        "q1": low,
        "median": middle,
        "q3": high,
        "max": ordered[-1],
    }


def check_writable(folder: Path) -> Path:
    """The folder, made if need be, in which a file could be written just now.

    Raises:
        OutputError: it cannot be made or written: better known before hours of measuring.
    """
    from covary.files import output_folder, replacing

    probe = output_folder(folder) / ".covary-bench"
    with replacing(probe) as temporary:
        temporary.write_bytes(b"")
    probe.unlink()
    return folder


def write_results(name: str, data: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write ``folder/name.json`` with the machine beside the data; whole or not at all."""
    from covary.images import output_folder, replacing

    path = output_folder(folder) / f"{name}.json"
    text = json.dumps({"machine": machine(), **data}, indent=2) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The lines of a Markdown table; cells are written as they are."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def filled(text: str, parts: Mapping[str, Callable[[], Iterable[str]]]) -> str:
    """``text`` with the lines between ``<!-- generated: NAME -->`` and ``<!-- end -->`` made again.

    Raises:
        SystemExit: the text asks for a part that is not among ``parts``.
    """

    def made(part: re.Match[str]) -> str:
        name = part[2]
        if name not in parts:
            raise SystemExit(f"a page asks for {name!r}; there are {', '.join(parts)}")
        lines = "\n".join(parts[name]()).strip()
        return f"{part[1]}\n{lines}\n\n{part[4]}"

    return _PART.sub(made, text)


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of equal keys as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    # Where that is no terminal, wide enough for whole rows.
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
