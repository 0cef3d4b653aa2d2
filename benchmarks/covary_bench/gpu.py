"""Every check and figure that needs a GPU, in one call: ``python -m covary_bench.gpu``.

Checks: the StyleGAN2 known answers (in a checkout), in float32 without TF32; the shorter formats
against float32, plain and with the upsampling folded; ``lloyd``'s engines on the GPU against the
CPU.

Figures of clustering, 1024x1024 pixels of 150 features in float16: a converged ``lloyd`` with its
initialisation, the median of repeated runs after one that is not counted, with what torch allocated
meanwhile (the goal is 5 ms at k = 3 on an H200); one pass, from the difference of a long and a
short run, over the time of reading the pixels at the speed of a copy (at most 2); and every
discovered clusterer from the same centres, each in a process of its own (the best other that finds
the same should take 20 times as long).

Figures of drawing: ``variants`` of 1024x1024 pixels from random weights of config-f's sizes, made
as the source ``stylegan2`` makes them, median of repeated runs after one that is not counted, and
the most memory allocated meanwhile, weights included; the goal is 50 variants in 120 ms and 1.5 GB
on an H200. The same by a naive implementation (``covary_bench.naive``), seconds for one image. What
this GPU reached in products and copies. A whole pipeline (LAB, ``lloyd``, ``corner``) from a file
of such weights.

A check that breaks is a row that says so; the others still run. After eight minutes (``--minutes``)
what is left is left out, and said to be. Without CUDA nothing runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import covary
from covary_plugins.stylegan2 import Architecture, Generator, save_safetensors
from covary_plugins.stylegan2.execution import Execution

from . import gpu_clusterers, naive
from .ceilings import Timer, copy_rate, matmul_rate
from .checks import Budget, Row, row, rows
from .report import RESULTS, print_table, write_results
from .sources import Case, config_f, random_generator, work

__all__ = ["GOAL", "check", "main"]

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures" / "stylegan2"
GOAL = {"seconds": 0.120, "bytes": 1.5e9}
"""50 variants at 1024x1024 on one H200; for clustering see :mod:`.gpu_clusterers`."""

_TOLERANCE = 1e-4
_LARGEST_ERROR = {"bf16": 2e-2, "fp16": 5e-3}  # relative root mean square, random weights


def check(
    device: torch.device,
    architecture: Architecture,
    *,
    variants: int = 50,
    c: int = 8,
    side: int = 1024,
    repeats: int = 5,
    seconds: float = 480,
    clusterers: Sequence[str] = (),
) -> list[Row]:
    """All rows: what, result, and whether it is as it should be (None where nothing is asked).

    Args:
        architecture: of the generator that is timed.
        side: of the maps that are clustered, pixels.
        seconds: after which what is left is left out.
        clusterers: names of those to compare ``lloyd`` with; empty: all.
    """
    budget = Budget(seconds)
    generator = random_generator(architecture, device)
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "known answers": partial(_known_answers, device),
        "formats": partial(_formats, generator, device),
        "engines": partial(gpu_clusterers.agreement, device, max(side // 8, 32)),
        "ceilings": partial(_ceilings, device),
        "clustering": partial(_clustering, device, side, variants),
        "speed": partial(_speed, generator, device, variants, c, repeats),
        "a whole image": partial(_pipeline, generator, device, variants, c),
        # Last, because it takes longest and leaves out what there is no time for.
        "clusterers": partial(_clusterers, device, side, variants, budget, clusterers),
    }
    return [row for what, part in parts.items() for row in budget.rows(what, part)]


@torch.inference_mode()
def _known_answers(device: torch.device) -> Iterator[Row]:
    from safetensors.torch import load_file

    if not FIXTURES.is_dir():
        yield row("known answers", "left out: not a checkout")
        return
    for stem in ("nvidia_ada/ada_r32_map2", "rosinality/rosi_r32_mlp2"):
        io = load_file(FIXTURES / f"{stem}.io.safetensors")
        facts = json.loads((FIXTURES / f"{stem}.json").read_text(encoding="utf-8"))
        state: dict[str, Any] = load_file(FIXTURES / f"{stem}.state.safetensors")
        if "latent_avg" in io:
            state = {"g_ema": state, "latent_avg": io["latent_avg"]}
        generator = Generator.from_state_dict(state, facts["init_kwargs"]).to(device)
        with _exact():
            ws = generator.mapping(io["z"].to(device))
            image = generator.synthesis(ws)
            worst = float((image.cpu() - io["img_const"]).abs().max())
            for c in facts["cutoffs"]:
                mixed = generator.style_mix(ws[:1], ws[1:], c)
                for folded in (False, True):
                    prefix = generator.prefix(ws[:1], c, how=Execution(folded=folded))
                    image = generator.synthesis(mixed, prefix=prefix)
                    difference = image.cpu() - io[f"mix_c{c}_img_const"]
                    worst = max(worst, float(difference.abs().max()))
        good = worst <= _TOLERANCE
        yield row(f"known answers, {stem}", f"largest difference {worst:.1e}", good, error=worst)


@torch.inference_mode()
def _formats(generator: Generator, device: torch.device) -> Iterator[Row]:
    case = Case(generator, 4, 0, "fp32", device)
    _, ws = case.codes()
    with _exact():
        exact = generator.synthesis(ws)
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        chosen = Execution.choose(generator.architecture, device, "bf16")
        clamp = 256.0 if dtype == torch.float16 else None
        for folded in (False, True):
            how = replace(chosen, dtype=dtype, clamp=clamp, folded=folded)
            image = generator.synthesis(ws, how=how)
            error = float((image - exact).norm() / exact.norm())
            way = f"{name}{', folded' if folded else ''}"
            good = error < _LARGEST_ERROR[name]
            yield row(f"{way} against fp32", f"relative error {error:.1e}", good, error=error)


def _ceilings(device: torch.device) -> Iterator[Row]:
    timer = Timer(device)
    # Processors have no products in float16 worth waiting for.
    dtypes = (torch.float32, torch.bfloat16, torch.float16)[: 3 if device.type == "cuda" else 2]
    for dtype in dtypes:
        rate = matmul_rate(timer, dtype)
        name = str(dtype).removeprefix("torch.")
        yield row(f"products in {name}", f"{rate / 1e12:.1f} TFLOP/s", flops=rate)
    rate = copy_rate(timer)
    yield row("copies", f"{rate / 1e9:.0f} GB/s", bytes_per_s=rate)


def _speed(
    generator: Generator, device: torch.device, variants: int, c: int, repeats: int
) -> Iterator[Row]:
    cuda = device.type == "cuda"
    ways: list[tuple[Any, bool]] = [("auto", False), ("fp32", False), ("bf16", False)]
    ways += [("fp16", False), ("auto", True)] if cuda else []
    for precision, compiled in ways:
        case = Case(generator, variants, c, precision, device, compiled=compiled)
        name = f"{variants} variants, {precision}{', compiled' if compiled else ''}"
        yield from rows(partial(_timed, case, name, repeats))
    with torch.inference_mode():
        structure = case.codes()[0]
        state = generator.state_dict()
        naive.synthesis(state, structure)
        taken = Timer(device)(lambda: naive.synthesis(state, structure))
    yield row("one image, naive", f"{taken * 1e3:.1f} ms", seconds=taken)


def _timed(case: Case, name: str, repeats: int) -> Iterator[Row]:
    timer = Timer(case.device)
    case.run()
    if case.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(case.device)
    times = [timer(case.run) for _ in range(repeats)]
    middle = statistics.median(times)
    peak = torch.cuda.max_memory_allocated(case.device) if case.device.type == "cuda" else 0
    architecture = case.generator.architecture
    operations, moved = work(architecture, case.how, case.c, case.variants)
    asked = case.variants == 50 and architecture.resolution == 1024 and case.precision == "auto"
    met = middle <= GOAL["seconds"] and peak <= GOAL["bytes"]
    yield row(
        name,
        f"{middle * 1e3:.1f} ms ({min(times) * 1e3:.1f} to {max(times) * 1e3:.1f}), "
        f"{peak / 1e9:.2f} GB, {operations / middle / 1e12:.1f} TFLOP/s, "
        f"{moved / middle / 1e9:.0f} GB/s",
        met if asked and not case.compiled else None,
        seconds=times,
        peak_bytes=peak,
        flops=operations / middle,
        bytes_per_s=moved / middle,
    )


def _pipeline(generator: Generator, device: torch.device, variants: int, c: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.safetensors"
        save_safetensors(generator, path)
        source = ("stylegan2", {"checkpoint": str(path), "c": c, "n": variants, "psi": 1.0})
        pipe = covary.Pipeline(source, "lab", ("lloyd", {"k": 4}), "corner", device=device)
        pipe(seed=0)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        taken = [Timer(device)(partial(pipe, seed=seed)) for seed in (1, 2, 3)]
    middle = statistics.median(taken)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    yield row(
        "a whole image (paper, A100: 0.9 s, 4.8 GB)", f"{middle:.2f} s, {peak / 1e9:.2f} GB",
        seconds=taken, peak_bytes=peak,
    )  # fmt: skip


def _clustering(device: torch.device, side: int, variants: int) -> Iterator[Row]:
    yield from gpu_clusterers.converged(gpu_clusterers.summary_of(side, variants, device))
    yield from gpu_clusterers.passes(side, variants, device)


def _clusterers(
    device: torch.device, side: int, variants: int, budget: Budget, names: Sequence[str]
) -> Iterator[Row]:
    summary = gpu_clusterers.summary_of(side, variants, device)
    yield from gpu_clusterers.others(summary, budget, names)


@contextmanager
def _exact() -> Iterator[None]:
    """Float32 convolutions in float32: torch takes TF32 for them otherwise, an error of 1e-3."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def main(argv: list[str] | None = None) -> int:
    """Run it all; 1 if something is not as it should be, 0 also where there is no GPU."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("No CUDA device: nothing was run. CPU numbers stand (benchmarks/results).")
        return 0
    started = time.monotonic()
    device = torch.device("cuda")
    found = check(
        device,
        config_f(1024),
        variants=args.variants,
        repeats=args.repeats,
        # A worker that was begun in time is not cut short, and starting up took some.
        seconds=60 * args.minutes - 15,
    )
    shown = {None: "", True: "good", False: "NOT GOOD"}
    print_table(
        torch.cuda.get_device_name(),
        [{"what": r["what"], "result": r["result"], "": shown[r["good"]]} for r in found],
    )
    command = f"python -m covary_bench.gpu --variants {args.variants} --repeats {args.repeats}"
    data = {
        "method": __doc__,
        "command": command,
        "goal": GOAL,
        "clustering_goals": gpu_clusterers.GOALS,
        "seconds": round(time.monotonic() - started, 1),
        "rows": found,
    }
    print(write_results("gpu", data, args.out))
    return int(any(row["good"] is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
