"""Speed of style mixing at the real sizes: ``python -m covary_bench.sources``.

StyleGAN2 of config-f's widths with random weights, and noise. The mixing is what the source
``stylegan2`` does: one structure, layers below the paper's cutoff (5, 7 and 8 at 256, 512 and 1024
pixels) computed once, the rest for each of ``variants`` styles, to uint8. Images a second count the
variants and include the shared layers. In the same process and turn by turn with it runs
``covary_bench.naive``: float32, all layers for every variant, weights modulated for each sample and
convolved in groups, one image at a time; its images a second are those of synthesis alone.

``matmul`` and ``copy`` are fractions of what this machine reached, measured in the same turns: the
multiplications and additions of the convolutions (with the shared layers counted once, and
upsampling as the transposed convolution that it is) over those of a square product in the same
dtype; and the bytes that each layer must read and write over those of a large copy. ``peak_mib`` is
the most memory above that of the process with its weights, on a CPU from /proc (Linux);
``predicted_mib`` is what the source tells ``Pipeline.plan``. ``error`` is the root mean square
difference from float32 over that of the image, ``largest_error`` the largest over the largest.

With ``--cpu-time`` everything runs in one thread, and its processor time is taken rather than the
clock's: what others do on a shared machine then counts for less.

``steps``: one thing changed at a time, same images, as a ratio of seconds to the way chosen.
``max_resolution``: masks of the bundled avatars at 32 pixels, enlarged, against those at 64; and
what the masks at 64 lose by being made smaller and enlarged again, which no method can avoid.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

import covary
from covary.testing.memory import highest, status_bytes
from covary_plugins.sources._mixing import batch_bytes, draw_styles, mixed_variants
from covary_plugins.stylegan2 import Architecture, Generator, to_uint8
from covary_plugins.stylegan2.execution import Execution, Precision

from . import naive
from .ceilings import Timer, copy_rate, matmul_rate
from .quality import score
from .report import spread

__all__ = [
    "CUTOFFS",
    "Case",
    "config_f",
    "measure",
    "precisions",
    "random_generator",
    "smaller_masks",
    "steps",
    "work",
]

CUTOFFS = {256: 5, 512: 7, 1024: 8}
"""The paper's Table S1, by resolution."""

_MIB = 2**20


def config_f(resolution: int, **settings: Any) -> Architecture:
    """The published sizes of that resolution: config-f, eight mapping layers."""
    channels = [min(32768 // 2**log2, 512) for log2 in range(2, resolution.bit_length())]
    return Architecture((512,) * 9, tuple(channels), **settings)


def random_generator(architecture: Architecture, device: torch.device) -> Generator:
    """Random weights, and some noise, which fresh networks have none of."""
    torch.manual_seed(0)
    generator = Generator(architecture)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    state, kwargs = generator.state_dict(), architecture.init_kwargs()
    return Generator.from_state_dict(state, kwargs).to(device)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to make the variants of one structure."""

    generator: Generator
    variants: int
    c: int
    precision: Precision
    device: torch.device
    batch: int | None = None
    """None leaves the size to the source."""
    compiled: bool = False

    @property
    def how(self) -> Execution:
        """What the source would choose."""
        architecture = self.generator.architecture
        return Execution.choose(architecture, self.device, self.precision, compiled=self.compiled)

    def codes(self) -> tuple[Tensor, Tensor]:
        """The structure's code and the styles'."""
        ctx = covary.RunContext(device=self.device).at("source", "covary/stylegan2")
        styles = draw_styles(self.generator, self.variants + 1, 1.0, ctx)
        return styles[:1], styles[1:]

    def run(self) -> None:
        """Make the variants and drop them batch by batch, as a pipeline does."""
        structure, styles = self.codes()
        if self.batch is not None:
            mix(self.generator, structure, styles, self.c, self.how, self.batch)
            return
        ctx = covary.RunContext(device=self.device)
        variants = mixed_variants(
            self.generator,
            structure,
            styles,
            self.c,
            ctx,
            precision=self.precision,
            compiled=self.compiled,
        )
        for _ in variants:
            pass


@torch.inference_mode()
def mix(
    generator: Generator,
    structure: Tensor,
    styles: Tensor,
    c: int,
    how: Execution,
    batch: int,
    *,
    shared: bool = True,
    max_resolution: int | None = None,
) -> None:
    """The same by hand, where something is to be done in another way than the source does it."""
    codes = generator.style_mix(structure, styles, c)
    start = c if shared else 0
    prefix = generator.prefix(structure, start, how=how, max_resolution=max_resolution)
    for some in codes.split(batch):
        to_uint8(generator.synthesis(some, prefix=prefix, max_resolution=max_resolution))


def precisions(device: torch.device) -> list[Precision]:
    """Those that the device has."""
    return ["fp32", "bf16", "fp16"] if device.type == "cuda" else ["fp32", "bf16"]


def work(architecture: Architecture, how: Execution, c: int, n: int) -> tuple[int, int]:
    """(floating-point operations, bytes) that n variants need at least, with shared layers once."""
    operations = moved = 0
    n_in = 0
    for log2, n_out in enumerate(architecture.channels, start=2):
        pixels, size = 4**log2, how.dtype_at(2**log2).itemsize
        # (code, inputs, pixels that the kernel is applied at, taps, outputs)
        layers = [(max(2 * log2 - 4, 0), n_out, pixels, 9, n_out)]
        if n_in:
            layers.insert(0, (2 * log2 - 5, n_in, pixels // 4, 9, n_out))
        layers.append((max(2 * log2 - 3, 1), n_out, pixels, 1, architecture.img_channels))
        for code, inputs, applied, taps, outputs in layers:
            times = 1 if code < c else n
            operations += times * 2 * inputs * outputs * taps * applied
            moved += times * size * (inputs * applied + outputs * pixels)
        n_in = n_out
    return operations, moved


def measure(
    cases: Sequence[Case], repeats: int, timer: Timer, report: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row a case; all cases of one generator take turns with each other and the baseline."""
    taken: list[list[float]] = [[] for _ in cases]
    baselines: list[float] = []
    rates: dict[Any, list[float]] = {}
    for case in cases:
        case.run()  # load, compile, fill caches
    for turn in range(repeats):
        report(f"turn {turn + 1} of {repeats}")
        baselines.append(timer(lambda: _baseline(cases[0])))
        rates.setdefault("copy", []).append(copy_rate(timer))
        for dtype in {case.how.dtype for case in cases}:
            rates.setdefault(dtype, []).append(matmul_rate(timer, dtype))
        for case, times in zip(cases, taken, strict=True):
            times.append(timer(case.run))
    reached = {key: statistics.median(values) for key, values in rates.items()}
    naive_rate = 1 / statistics.median(baselines)
    rows = [
        {
            "resolution": cases[0].generator.resolution,
            "precision": "naive fp32",
            "c": 0,
            "variants": 1,
            "images_per_s": naive_rate,
            "spread": spread([1 / s for s in baselines]),
        }
    ]
    return rows + [
        _row(case, times, reached, naive_rate) for case, times in zip(cases, taken, strict=True)
    ]


def _row(
    case: Case, times: list[float], reached: dict[Any, float], naive_rate: float
) -> dict[str, Any]:
    architecture, how = case.generator.architecture, case.how
    operations, moved = work(architecture, how, case.c, case.variants)
    rates = [case.variants / s for s in times]
    middle = statistics.median(times)
    return {
        "resolution": architecture.resolution,
        "precision": case.precision + (" compiled" if case.compiled else ""),
        "dtype": str(how.dtype).removeprefix("torch."),
        "c": case.c,
        "variants": case.variants,
        "images_per_s": case.variants / middle,
        "times_naive": case.variants / middle / naive_rate,
        "matmul": operations / middle / reached[how.dtype],
        "copy": moved / middle / reached["copy"],
        "matmul_gflops": reached[how.dtype] / 1e9,
        "copy_gb_per_s": reached["copy"] / 1e9,
        **_errors(case),
        "peak_mib": _peak(case) / _MIB,
        "predicted_mib": batch_bytes(
            case.generator, n=case.variants, precision=case.precision, device=case.device
        )
        / _MIB,
        "spread": spread(rates),
    }


@torch.inference_mode()
def _baseline(case: Case) -> None:
    structure, _ = case.codes()
    to_uint8(naive.synthesis(case.generator.state_dict(), structure))


@torch.inference_mode()
def _errors(case: Case) -> dict[str, float]:
    """How far the images are from float32."""
    if case.how.dtype == torch.float32:
        return {}
    structure, _ = case.codes()
    exact = case.generator.synthesis(structure)
    difference = case.generator.synthesis(structure, how=case.how) - exact
    return {
        "error": float(difference.norm() / exact.norm()),
        "largest_error": float(difference.abs().max() / exact.abs().max()),
    }


def _peak(case: Case) -> int:
    """Bytes above the weights while the case runs, with all that it then keeps."""
    case.generator.to(case.device)  # forgets what is derived from the weights
    if case.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(case.device)
        before = torch.cuda.memory_allocated(case.device)
        case.run()
        torch.cuda.synchronize(case.device)
        return int(torch.cuda.max_memory_allocated(case.device)) - before
    if not Path("/proc/self/clear_refs").exists():
        return 0
    before = status_bytes("VmRSS")
    return highest(case.run)[0] - before


def steps(case: Case, repeats: int, timer: Timer) -> list[dict[str, Any]]:
    """What each idea is worth: seconds without it, as a ratio to the way chosen."""
    generator, how, c = case.generator, case.how, case.c
    structure, styles = case.codes()

    def run(how: Execution = how, batch: int = 1, **options: Any) -> Callable[[], None]:
        return lambda: mix(generator, structure, styles, c, how, batch, **options)

    half = generator.resolution // 2
    changed = {
        "as chosen, one image at a time": run(),
        "shared layers computed for every variant": run(shared=False),
        "features scaled, not weights: batches of two": run(batch=2),
        "upsampling folded" if not how.folded else "upsampling not folded": run(
            Execution(how.dtype, how.lowest, how.clamp, folded=not how.folded)
        ),
        "all features in this dtype": run(Execution(how.dtype, 4, how.clamp, folded=how.folded)),
        "float32": run(Execution.choose(generator.architecture, case.device, "fp32")),
        f"max_resolution {half}": run(max_resolution=half),
    }
    taken: dict[str, list[float]] = {name: [] for name in changed}
    for one in changed.values():
        one()
    for _ in range(repeats):
        for name, one in changed.items():
            taken[name].append(timer(one))
    chosen = statistics.median(next(iter(taken.values())))
    return [
        {
            "what": name,
            "resolution": generator.resolution,
            "precision": case.precision,
            "ratio": statistics.median(times) / chosen,
            "seconds": spread(times),
        }
        for name, times in taken.items()
    ]


def smaller_masks(seeds: Iterable[int], resolution: int = 32) -> dict[str, Any]:
    """Masks of the preset ``avatars`` at ``resolution``, enlarged, against those at full size."""
    pipe = covary.Pipeline.preset("avatars", device="cpu")
    params = pipe.source.params.model_dump() | {"max_resolution": resolution}
    small = pipe.replace(source=("stylegan2", params))
    scores, best = [], []
    for seed in seeds:
        truth, found = pipe(seed=seed), small(seed=seed)
        factor = truth.mask.shape[0] // resolution
        scores.append(score(_enlarged(found.mask, factor), truth.mask, found.found).miou)
        blocks = truth.mask.float()[None, None]
        reduced = F.avg_pool2d(blocks, factor)[0, 0] >= 0.5
        best.append(score(_enlarged(reduced, factor), truth.mask).miou)
    return {
        "resolution": resolution,
        "full": cast(Any, pipe.source).size()[0],
        "seeds": len(scores),
        "miou": statistics.mean(scores),
        "spread": spread(scores),
        "miou_of_reduced_masks": statistics.mean(best),
    }


def _enlarged(mask: Tensor, factor: int) -> Tensor:
    return mask.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


if __name__ == "__main__":
    from .sources_command import sources

    sources(prog_name="python -m covary_bench.sources")
