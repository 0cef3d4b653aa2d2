"""How a synthesis network computes: number formats, the published limits, ways to convolve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from covary.errors import InputError

from .architecture import Architecture

__all__ = ["FP32", "Execution", "Precision"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Number format of the high resolutions; RGB is summed in float32 with all of them."""

# NVIDIA's choice where a network was not trained in float16 and is to run in it all the same.
_FORCED_RESOLUTIONS, _FORCED_CLAMP = 4, 256.0


@dataclass(frozen=True, slots=True)
class Execution:
    """What the blocks of a synthesis network compute with.

    Attributes:
        dtype: of the features at ``lowest`` and above; float32 below.
        lowest: resolution from which ``dtype`` is used.
        clamp: limit of the activations in ``dtype`` where the network has none of its own.
        folded: upsampling convolutions at ``lowest`` and above as one convolution with four times
            the outputs, rather than a transposed one and a filter. More arithmetic and no
            depthwise pass.
        compiled: the arithmetic after each convolution as one kernel, by torch.compile.
    """

    dtype: torch.dtype = torch.float32
    lowest: int = 4
    clamp: float | None = None
    folded: bool = False
    compiled: bool = False

    def dtype_at(self, resolution: int) -> torch.dtype:
        """Of the features at ``resolution``."""
        return self.dtype if resolution >= self.lowest else torch.float32

    def folded_at(self, resolution: int) -> bool:
        """Whether the upsampling convolution to ``resolution`` is folded."""
        return self.folded and resolution >= self.lowest

    @classmethod
    def choose(
        cls,
        architecture: Architecture,
        device: torch.device,
        precision: Precision = "auto",
        *,
        compiled: bool = False,
    ) -> Execution:
        """The fastest way known for ``device`` that keeps images within 1e-2 (root mean square).

        ``"auto"`` is float16 on CUDA for networks that were trained in it, with their clamp, and
        bfloat16 for the others: it has float32's range, so nothing has to be clamped that was not
        in training. On CPUs it is bfloat16 where the processor multiplies it in hardware and the
        network is wide enough to gain by it, else float32.

        Raises:
            InputError: another precision, or float16 or compilation without CUDA.
        """
        cuda = device.type == "cuda"
        if precision not in ("auto", "fp32", "bf16", "fp16"):
            raise InputError("precision", expected="auto, fp32, bf16 or fp16", got=repr(precision))
        if not cuda and (precision == "fp16" or compiled):
            raise InputError(
                "precision 'fp16'" if precision == "fp16" else "compile=True",
                expected="a CUDA device",
                got=str(device),
                fix="use precision='auto'" if precision == "fp16" else "leave compile off",
            )
        if precision == "auto":
            precision = _auto_cuda(architecture, device) if cuda else _auto_cpu(architecture)
        dtype = _DTYPES[precision]
        clamp = _FORCED_CLAMP if precision == "fp16" else None
        # Tensor cores make products cheap, and depthwise convolutions are slow beside them. On
        # CPUs folding was measured to be slower (benchmarks/results/sources.json).
        return cls(dtype, _lowest(architecture), clamp, folded=cuda, compiled=compiled)


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

FP32 = Execution()
"""Everything in float32, as the known answers were made."""


def _lowest(architecture: Architecture) -> int:
    """The published rule: the ``num_fp16_res`` highest resolutions, never 4x4."""
    count = architecture.num_fp16_res or _FORCED_RESOLUTIONS
    return max(2 * architecture.resolution >> count, 8)


def _auto_cuda(architecture: Architecture, device: torch.device) -> Precision:
    if architecture.num_fp16_res and architecture.conv_clamp is not None:
        return "fp16"
    # Before Ampere bfloat16 is emulated.
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


# Below this width conversions and small kernels cost more than the faster products save.
_WIDE = 128


def _auto_cpu(architecture: Architecture) -> Precision:
    wide = max(architecture.channels) >= _WIDE
    return "bf16" if wide and _multiplies_bfloat16() else "fp32"


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it; torch emulates them slowly elsewhere."""
    # Older versions of torch cannot tell.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
