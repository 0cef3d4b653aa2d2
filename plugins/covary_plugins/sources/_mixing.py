"""Style mixing (paper Sec. 3.1), for every source that has a StyleGAN2 generator and a code w_0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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
    "draw_styles",
    "image_bytes",
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
    architecture = generator.architecture
    how = Execution.choose(architecture, ctx.device, precision, compiled=compiled)
    generator.synthesis.check_max_resolution(max_resolution)
    with torch.inference_mode():
        codes = generator.style_mix(structure, styles, c)
    each = image_bytes(architecture, how, max_resolution)
    most = min(_BATCH_BYTES[_kind(ctx.device)], ctx.available_memory())
    size = max(1, most // each)

    fix = "use a smaller generator, a lower max_resolution where there is one, or device='cpu'"

    def shared(code: Tensor) -> Prefix:
        with torch.inference_mode():
            return generator.prefix(code, c, how=how, max_resolution=max_resolution)

    def batches() -> Iterator[covary.VariantBatch]:
        prefix = next(in_batches(structure, shared, 1, device=ctx.device, fix=fix))

        def run(some: Any) -> Tensor:
            with torch.inference_mode():
                images = generator.synthesis(some, prefix=prefix, max_resolution=max_resolution)
                return to_uint8(images)

        for images in in_batches(codes, run, size, device=ctx.device, fix=fix):
            yield covary.VariantBatch(images)

    return batches()


def draw_image(
    generator: Generator, ws: Tensor, ctx: covary.RunContext, max_resolution: int | None = None
) -> Tensor:
    """The image of one code (1, L, W), uint8 (3, H, W), in float32 without TF32.

    Raises:
        MemoryBudgetError: it does not fit.
    """

    def run(code: Tensor) -> Tensor:
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            return to_uint8(generator.synthesis(code, max_resolution=max_resolution))[0]

    return next(in_batches(ws, run, 1, device=ctx.device))


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
    max_resolution: int | None = None,
    precision: Precision = "auto",
    device: torch.device | None = None,
) -> int:
    """Peak bytes of mixing beside the weights: a batch on its way, X_0, and what is cached.

    Args:
        n: number of variants.
        device: None is CUDA where there is one, as for a pipeline.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture = generator.architecture
    how = Execution.choose(architecture, device, precision)
    exact = Execution.choose(architecture, device, "fp32")
    image = image_bytes(architecture, exact, max_resolution)
    each = image_bytes(architecture, how, max_resolution)
    batch = min(max(_BATCH_BYTES[_kind(device)] // each, 1), n) * each
    return max(batch, image) + _cached_bytes(architecture, how)


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


def _kind(device: torch.device) -> str:
    return "cuda" if device.type == "cuda" else "cpu"
