"""rosinality's names of StyleGAN2's tensors, turned into NVIDIA's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from covary.errors import CheckpointError

__all__ = ["from_rosinality"]


def from_rosinality(state: Mapping[str, Tensor], fix: str) -> dict[str, Tensor]:
    """The tensors of ``state`` under NVIDIA's names and in NVIDIA's shapes.

    Args:
        fix: what to do about a name that is not rosinality's.

    Raises:
        CheckpointError: there is such a name.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        new = _rosinality_name(name)
        if new is None:
            raise CheckpointError(
                "the state dict", expected="rosinality's generator", got=repr(name), fix=fix
            )
        tensors[new] = _rosinality_value(new, value)
    return tensors | _missing_noises(tensors)


def _missing_noises(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Noise maps of a fixed seed for layers that came without; early files kept none."""
    random = torch.Generator().manual_seed(0)
    maps: dict[str, Tensor] = {}
    for name in tensors:
        m = re.fullmatch(r"(synthesis\.b(\d{1,4})\.conv\d)\.noise_strength", name)
        if m and f"{m[1]}.noise_const" not in tensors and int(m[2]) <= _LARGEST:
            maps[f"{m[1]}.noise_const"] = torch.randn(int(m[2]), int(m[2]), generator=random)
    return maps


_LARGEST = 1024  # pixels
_LAYER_PARTS = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "conv.blur.kernel": "resample_filter",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}


def _rosinality_name(name: str) -> str | None:
    """NVIDIA's name of a rosinality tensor, or None when it is not one."""
    if name == "latent_avg":
        return "mapping.w_avg"
    if name == "input.input":
        return "synthesis.b4.const"
    if m := re.fullmatch(r"style\.(\d{1,2})\.(weight|bias)", name):
        return f"mapping.fc{int(m[1]) - 1}.{m[2]}"
    if m := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
        return f"synthesis.{_conv_name(int(m[1]))}.noise_const"
    if m := re.fullmatch(r"to_rgbs\.(\d{1,2})\.upsample\.kernel", name):
        return f"synthesis.b{8 * 2 ** int(m[1])}.resample_filter"
    if m := re.fullmatch(r"(conv1|convs\.(\d{1,2})|to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name):
        part = _LAYER_PARTS.get(m[4])
        if m[1].startswith("conv"):
            layer = _conv_name(0 if m[2] is None else int(m[2]) + 1)
        else:
            layer = f"b{4 if m[3] is None else 8 * 2 ** int(m[3])}.torgb"
        return part and f"synthesis.{layer}.{part}"
    return None


def _conv_name(j: int) -> str:
    """Convolution j in rosinality's order: 0 at 4x4, then two for each resolution."""
    return "b4.conv1" if j == 0 else f"b{8 * 2 ** ((j - 1) // 2)}.conv{(j - 1) % 2}"


def _rosinality_value(name: str, value: Tensor) -> Tensor:
    if name.endswith(".resample_filter"):
        return value / 4  # rosinality bakes the gain of upsampling into the kernel
    if name.endswith("noise_const"):
        return value[0, 0]
    if name.endswith("noise_strength"):
        return value.reshape([])
    if name.endswith("w_avg") and value.ndim == 2 and bool((value == value[:1]).all()):
        return value[0]  # one row repeated for every layer
    if name.startswith("synthesis.") and "affine" not in name:
        if name.endswith((".weight", ".const")):
            return value[0]
        return value.flatten()
    return value
