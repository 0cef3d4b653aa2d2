"""Style mixing (paper Sec. 3.1), for every source that has a StyleGAN2 generator and a code w_0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import covary
from covary_plugins.batches import in_batches
from covary_plugins.stylegan2 import to_uint8
from covary_plugins.stylegan2.execution import Execution, Precision

if TYPE_CHECKING:
    from covary_plugins.stylegan2 import Architecture, Generator, Prefix

__all__ = [
    "batch_bytes",
    "check_cutoff",
    "check_label",
    "draw_image",
    "draw_images",
    "draw_styles",
    "image_bytes",
    "mixed_together",
    "mixed_variants",
    "published_latent",
]

# Activations that one batch may keep in flight; more brings no speed.
_BATCH_BYTES = {"cpu": 128 * 2**20, "cuda": 768 * 2**20}


def mixed_variants(
    generator: Generator,
    structure: Tensor,
    styles: Tensor,
    c: int,
    ctx: covary.RunContext,
    *,
    max_resolution: int | None = None,
    precision: Precision = "auto",
    compiled: bool = False,
) -> Iterator[covary.VariantBatch]:
    """The variants of ``structure``: layers before ``c`` from it, from ``c`` on from each style.

    The layers before c are computed once. Noise is the stored constant. Batches are sized by the
    memory there is, and halved and tried again where that was too optimistic.

    Args:
        generator: on ``ctx.device``, in evaluation mode.
        structure: the code of X_0, (1, L, W), truncated.
        styles: the appearance codes, (n, L, W), truncated; see `draw_styles`.
        c: cutoff in 0..L.
        max_resolution: stop there; the variants have that size.
        precision: of the high resolutions, see `Execution.choose`.
        compiled: fuse elementwise arithmetic with torch.compile; CUDA only.

    Returns:
        uint8 batches on ``ctx.device``, lazily.

    Raises:
        InputError: c outside 0..L, codes of another shape, a size that the network has no RGB at,
            or a precision that the device cannot; when called, not when iterated.
        MemoryBudgetError: while iterating, when not even one image fits.
    """
    (batches,) = mixed_together(
        generator,
        structure,
        styles,
        c,
        ctx,
        max_resolution=max_resolution,
        precision=precision,
        compiled=compiled,
    )
    return batches


def mixed_together(
    generator: Generator,
    structures: Tensor,
    styles: Tensor,
    c: int,
    ctx: covary.RunContext,
    *,
    max_resolution: int | None = None,
    precision: Precision = "auto",
    compiled: bool = False,
) -> list[Iterator[covary.VariantBatch]]:
    """As `mixed_variants`, of several structures, whose variants share batches.

    Args:
        structures: the codes of q images, (q, L, W), truncated.
        styles: the appearance codes of the first, then of the second: (q * n, L, W).
        ctx: of any of them; it says how much memory there is.

    Returns:
        q iterators, each to be read to its end before the next.
    """
    architecture = generator.architecture
    how = Execution.choose(architecture, ctx.device, precision, compiled=compiled)
    generator.synthesis.check_max_resolution(max_resolution)
    q, n = len(structures), len(styles) // len(structures)
    with torch.inference_mode():
        pairs = zip(structures.split(1), styles.chunk(q), strict=True)
        codes = torch.cat([generator.style_mix(one, some, c) for one, some in pairs])
    size = _batch_size(image_bytes(architecture, how, max_resolution), ctx)

    fix = "use a smaller generator, a lower max_resolution where there is one, or device='cpu'"
    if q > 1:
        fix = f"open fewer queries together, {fix}"

    def shared(all_of_them: Sequence[Tensor]) -> Prefix:
        with torch.inference_mode():
            return generator.prefix(all_of_them[0], c, how=how, max_resolution=max_resolution)

    def pieces() -> Iterator[Tensor]:
        """The batches, cut where the variants of a structure end."""
        prefix = next(in_batches([structures], shared, 1, device=ctx.device, fix=fix))
        owners = torch.arange(q, device=ctx.device).repeat_interleave(n)

        def run(some: range) -> Tensor:
            rows = slice(some.start, some.stop)
            mine = prefix.of(owners[rows])
            with torch.inference_mode():
                images = generator.synthesis(
                    codes[rows], prefix=mine, max_resolution=max_resolution
                )
                return to_uint8(images)

        first = 0
        for images in in_batches(range(q * n), run, size, device=ctx.device, fix=fix):
            ends = list(range(n - first % n, len(images), n))
            first += len(images)
            parts = list(images.tensor_split(ends))
            del images  # a batch is held by whoever reads it
            while parts:
                yield parts.pop(0)

    batches = pieces()

    def of_one() -> Iterator[covary.VariantBatch]:
        left = n
        while left:
            images = next(batches)
            left -= len(images)
            yield covary.VariantBatch(images)
            del images

    return [of_one() for _ in range(q)]


def draw_image(
    generator: Generator, ws: Tensor, ctx: covary.RunContext, max_resolution: int | None = None
) -> Tensor:
    """The image of one code (1, L, W), uint8 (3, H, W), in float32 without TF32.

    Raises:
        MemoryBudgetError: it does not fit.
    """
    return draw_images(generator, ws, ctx, max_resolution)[0]


def draw_images(
    generator: Generator, ws: Tensor, ctx: covary.RunContext, max_resolution: int | None = None
) -> Tensor:
    """The images of q codes (q, L, W), uint8 (q, 3, H, W), in float32 without TF32.

    Raises:
        MemoryBudgetError: not even one fits.
    """

    def run(code: Tensor) -> Tensor:
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            return to_uint8(generator.synthesis(code, max_resolution=max_resolution))

    generator.synthesis.check_max_resolution(max_resolution)
    how = Execution.choose(generator.architecture, ctx.device, "fp32")
    size = _batch_size(image_bytes(generator.architecture, how, max_resolution), ctx)
    return torch.cat(list(in_batches(ws, run, size, device=ctx.device)))


def draw_styles(
    generator: Generator, n: int, psi: float, ctx: covary.RunContext, label: int | None = None
) -> Tensor:
    """n appearance codes (n, L, W), truncated by ``psi``, drawn from ``ctx.generator()``.

    The latents are drawn on the CPU, so one seed means the same codes on every device.

    Args:
        label: class of all of them, for conditional generators.
    """
    z = torch.randn(n, generator.z_dim, generator=ctx.generator()).to(ctx.device)
    with torch.inference_mode():
        codes: Tensor = generator.mapping(z, psi=psi, label=label)
        return codes


def published_latent(seed: int, z_dim: int) -> Tensor:
    """z (1, z_dim) float32 of ``seed`` by the convention of the published scripts."""
    # float64 first, then rounded.
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim)).to(torch.float32)


def check_cutoff(c: int, generator: Generator, checkpoint: str) -> None:
    """Refuse a cutoff beyond the generator's layers; only the checkpoint knows how many.

    Raises:
        ParamsError: c > l.
    """
    if c > generator.num_ws:
        raise covary.ParamsError(
            "parameter 'c'",
            expected=f"a cutoff in 0..{generator.num_ws}, the layers of {checkpoint}",
            got=str(c),
            fix="lower c; the middle of the range is a good start",
        )


def check_label(label: int | None, generator: Generator, checkpoint: str) -> None:
    """Refuse a class where there are none, and none where there are classes.

    Raises:
        ParamsError: as said, or a class that the generator does not have.
    """
    classes = generator.c_dim
    if (label is None and not classes) or (label is not None and 0 <= label < classes):
        return
    if classes:
        expected = f"a class in 0..{classes - 1}: {checkpoint} was trained with classes"
        fix = "set label, e.g. label=0"
    else:
        expected, fix = f"none: {checkpoint} has no classes", "leave label out"
    raise covary.ParamsError(
        "parameter 'label'", expected=expected, got="none" if label is None else str(label), fix=fix
    )


def batch_bytes(
    generator: Generator,
    *,
    n: int = 50,
    queries: int = 1,
    max_resolution: int | None = None,
    precision: Precision = "auto",
    device: torch.device | None = None,
) -> int:
    """Peak bytes of mixing beside the weights: a batch on its way, X_0, and what is cached.

    Args:
        n: number of variants of each query.
        queries: how many share the batches.
        device: None is CUDA where there is one, as for a pipeline.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture = generator.architecture
    how = Execution.choose(architecture, device, precision)
    exact = Execution.choose(architecture, device, "fp32")
    image = image_bytes(architecture, exact, max_resolution)
    each = image_bytes(architecture, how, max_resolution)
    most = _BATCH_BYTES[_kind(device)]
    batch = min(max(most // each, 1), n * queries) * each
    images = min(max(most // image, 1), queries) * image
    kept = _kept_bytes(architecture, n, max_resolution) * queries if queries > 1 else 0
    return max(batch, images) + _cached_bytes(architecture, how) + kept


def image_bytes(
    architecture: Architecture, how: Execution, max_resolution: int | None = None
) -> int:
    """Peak bytes of one image on its way through the synthesis network, in the widest block.

    A convolution's input, the input scaled and the output; five RGB images, up to the uint8 one.
    """
    peak = 0
    for log2, width in enumerate(architecture.channels, start=2):
        resolution = 2**log2
        if resolution <= (max_resolution or architecture.resolution):
            pixels = resolution**2
            features = width * pixels * how.dtype_at(resolution).itemsize
            peak = max(peak, 3 * features + 5 * architecture.img_channels * pixels * 4)
    return peak


def _kept_bytes(architecture: Architecture, n: int, max_resolution: int | None) -> int:
    """What stays of one query while others share its batches: codes, X_0, its prefix at most."""
    side = max_resolution or architecture.resolution
    prefix: int = max(
        width * 4**log2 * 4
        for log2, width in enumerate(architecture.channels, start=2)
        if 2**log2 <= side
    )
    codes = 3 * n * architecture.num_ws * architecture.w_dim * 4
    return codes + 2 * prefix + architecture.img_channels * side**2 * 5


def _cached_bytes(architecture: Architecture, how: Execution) -> int:
    """Style matrices padded to the widest layer, and kernels in another dtype."""
    widest, layers = max(architecture.channels), 3 * len(architecture.channels)
    total = 4 * layers * widest * (architecture.w_dim + widest)
    n_in = 0
    for log2, n_out in enumerate(architecture.channels, start=2):
        resolution = 2**log2
        dtype, folded = how.dtype_at(resolution), how.folded_at(resolution)
        if dtype != torch.float32 or folded:
            total += 9 * n_out * ((4 if folded else 1) * n_in + n_out) * dtype.itemsize
        n_in = n_out
    return total


def _batch_size(each: int, ctx: covary.RunContext) -> int:
    most: int = min(_BATCH_BYTES[_kind(ctx.device)], ctx.available_memory())
    return max(1, most // each)


def _kind(device: torch.device) -> str:
    return "cuda" if device.type == "cuda" else "cpu"
