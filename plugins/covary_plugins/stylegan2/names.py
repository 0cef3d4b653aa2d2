"""State-dict layouts: recognising them, NVIDIA's names for all, and sizes read from the shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from covary.errors import CheckpointError, did_you_mean

from .architecture import Architecture
from .ops import fir_filter

__all__ = ["LoadPlan", "check_tensors", "load_plan"]

_FIX = "pass the generator's own state dict (G_ema or g_ema), in NVIDIA's or rosinality's layout"

# Constructor arguments that say nothing the shapes do not, or that only concern training or fp16.
_WITHOUT_EFFECT = {
    "channel_base",
    "channel_max",
    "channel_multiplier",
    "embed_features",
    "fp16_channels_last",
    "fused_modconv_default",
    "layer_features",
    "num_fp16_res",
    "use_fp16",
    "use_noise",
    "w_avg_beta",
}
_SIZES = {
    "z_dim": "z_dim",
    "w_dim": "w_dim",
    "style_dim": "w_dim",
    "img_resolution": "resolution",
    "size": "resolution",
    "img_channels": "img_channels",
    "num_layers": "mapping_layers",
    "n_mlp": "mapping_layers",
}
_ONLY = {"c_dim": 0, "architecture": "skip", "activation": "lrelu"}
_SETTINGS = {"conv_clamp", "lr_multiplier", "lr_mlp", "resample_filter", "blur_kernel"}
_NESTED = ("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "layer_kwargs")


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What `Generator.from_state_dict` needs.

    Attributes:
        architecture: sizes and settings.
        tensors: float32 parameters and buffers under NVIDIA's names, filters excepted.
        filters: stored resampling filters (k, k) by the name of the module that owns them.
        default_filter: the filter of modules that store none.
    """

    architecture: Architecture
    tensors: dict[str, Tensor]
    filters: dict[str, Tensor]
    default_filter: Tensor


def load_plan(state: Mapping[str, Any], init_kwargs: Mapping[str, Any]) -> LoadPlan:
    """The plan for building a generator from ``state``; see `Generator.from_state_dict`."""
    settings = _flatten(init_kwargs)
    tensors = _nvidia_names(state)
    _refuse_other_networks(tensors)
    filters = {
        name.removesuffix(".resample_filter"): tensors.pop(name).detach().float()
        for name in list(tensors)
        if name.endswith(".resample_filter")
    }
    tensors = {
        name: tensor.detach().to(torch.float32, copy=True) for name, tensor in tensors.items()
    }
    architecture = _architecture(tensors, settings)
    _check_settings(architecture, settings)
    taps = settings.get("resample_filter", settings.get("blur_kernel")) or (1, 3, 3, 1)
    return LoadPlan(architecture, tensors, filters, fir_filter(taps))


def _flatten(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in kwargs.items():
        if key in _NESTED:
            flat |= _flatten(value or {})
        else:
            flat[key] = value
    known = _WITHOUT_EFFECT | _SIZES.keys() | _ONLY.keys() | _SETTINGS
    for key in flat.keys() - known:
        raise CheckpointError(
            "init_kwargs",
            expected="constructor arguments of StyleGAN2",
            got=repr(key),
            fix=did_you_mean(key, known),
        )
    return flat


def _nvidia_names(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of ``state`` under NVIDIA's names, whichever layout they came in."""
    if "g_ema" in state and isinstance(state["g_ema"], Mapping):
        mean = {"latent_avg": state["latent_avg"]} if "latent_avg" in state else {}
        state = {**state["g_ema"], **mean}
    wrong = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        kind = type(state[wrong[0]]).__name__
        raise CheckpointError(
            "the state dict", expected="tensors only", got=f"{wrong[0]!r}: {kind}", fix=_FIX
        )
    tensors = dict(state)
    if "synthesis.b4.const" in tensors:
        return tensors
    if "input.input" in tensors:
        return _from_rosinality(tensors)
    some = ", ".join(list(tensors)[:4]) or "nothing"
    if any(name.startswith("synthesis.input.") for name in tensors):
        some += " (an alias-free StyleGAN3, another network)"
    raise CheckpointError(
        "the state dict",
        expected="StyleGAN2's 'synthesis.b4.const' (NVIDIA) or 'input.input' (rosinality)",
        got=some,
        fix=_FIX,
    )


def _from_rosinality(state: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        new = _rosinality_name(name)
        if new is None:
            raise CheckpointError(
                "the state dict", expected="rosinality's generator", got=repr(name), fix=_FIX
            )
        tensors[new] = _rosinality_value(new, value)
    return tensors


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
    if m := re.fullmatch(r"style\.(\d+)\.(weight|bias)", name):
        return f"mapping.fc{int(m[1]) - 1}.{m[2]}"
    if m := re.fullmatch(r"noises\.noise_(\d+)", name):
        return f"synthesis.{_conv_name(int(m[1]))}.noise_const"
    if m := re.fullmatch(r"to_rgbs\.(\d+)\.upsample\.kernel", name):
        return f"synthesis.b{8 * 2 ** int(m[1])}.resample_filter"
    if m := re.fullmatch(r"(conv1|convs\.(\d+)|to_rgb1|to_rgbs\.(\d+))\.(.+)", name):
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


def _refuse_other_networks(tensors: dict[str, Tensor]) -> None:
    if any(name.startswith("mapping.embed.") for name in tensors):
        raise CheckpointError(
            "the state dict",
            expected="an unconditional generator (c_dim=0)",
            got="a conditional one, with class embeddings (mapping.embed)",
            fix="use a checkpoint trained without labels; class labels are not supported",
        )
    skip_weights = any(re.search(r"\.b\d+\.skip\.weight$", name) for name in tensors)
    if skip_weights or "synthesis.b4.torgb.weight" not in tensors:
        kind = "resnet" if skip_weights else "orig"
        raise CheckpointError(
            "the state dict",
            expected="the skip architecture, with a ToRGB layer at every resolution",
            got=f"what looks like the {kind!r} architecture",
            fix="use a checkpoint of the default (skip) architecture; others are not supported",
        )


def _architecture(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Architecture:
    depth = _count(tensors, r"mapping\.fc(\d+)\.weight")
    resolutions = sorted(
        int(m[1])
        for name in tensors
        if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name))
    )
    expected = [4 * 2**k for k in range(len(resolutions))]
    if depth == 0 or resolutions != expected:
        raise CheckpointError(
            "the state dict",
            expected="mapping layers fc0, fc1, ... and blocks b4, b8, ... without a gap",
            got=f"{depth} mapping layers in a row and blocks {resolutions}",
            fix="the file seems incomplete; get it again",
        )
    weights = [tensors[f"mapping.fc{i}.weight"] for i in range(depth)]
    channels = [tensors[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions]
    clamp = settings.get("conv_clamp")
    return Architecture(
        mapping_widths=(weights[0].shape[1], *(w.shape[0] for w in weights)),
        channels=tuple(channels),
        img_channels=tensors["synthesis.b4.torgb.weight"].shape[0],
        conv_clamp=None if clamp is None else float(clamp),
        lr_multiplier=float(settings.get("lr_multiplier", settings.get("lr_mlp", 0.01))),
        use_noise=any(name.endswith(".noise_strength") for name in tensors),
    )


def _count(tensors: dict[str, Tensor], pattern: str) -> int:
    found = {int(m[1]) for name in tensors if (m := re.fullmatch(pattern, name))}
    return next(i for i in range(len(found) + 1) if i not in found)


def _check_settings(architecture: Architecture, settings: dict[str, Any]) -> None:
    """Constructor arguments must not contradict the shapes, nor ask for what is not there."""
    for key, wanted in _ONLY.items():
        if settings.get(key, wanted) != wanted:
            raise CheckpointError(
                f"init_kwargs[{key!r}]",
                expected=repr(wanted),
                got=repr(settings[key]),
                fix="use another checkpoint; this kind of network is not supported",
            )
    found = {
        "z_dim": architecture.mapping_widths[0],
        "w_dim": architecture.w_dim,
        "resolution": architecture.resolution,
        "img_channels": architecture.img_channels,
        "mapping_layers": len(architecture.mapping_widths) - 1,
    }
    for key, what in _SIZES.items():
        if settings.get(key) is not None and settings[key] != found[what]:
            raise CheckpointError(
                f"init_kwargs[{key!r}]",
                expected=f"{found[what]}, as the tensors' shapes say",
                got=repr(settings[key]),
                fix="leave it out, or pass the arguments of this very checkpoint",
            )


def check_tensors(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> None:
    """Compares ``tensors`` with the state dict of the ``network`` they are meant for.

    Raises:
        CheckpointError: names missing or unknown, another shape, values that are not finite.
    """
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in network.items()
        if not name.endswith(".resample_filter")
    }
    missing = sorted(expected.keys() - tensors.keys() - {"mapping.w_avg"})
    unknown = sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            "the state dict",
            expected=f"the {len(expected)} tensors of a StyleGAN2 of these sizes",
            got=f"{_listing(missing)} missing, {_listing(unknown)} unknown",
            fix=_FIX,
        )
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != expected[name]:
            raise CheckpointError(
                f"tensor {name!r}",
                expected=f"shape {expected[name]}",
                got=str(tuple(tensor.shape)),
                fix="the file seems damaged or of another network; get it again",
            )
        if not math.isfinite(float(tensor.sum(dtype=torch.float64))):
            raise CheckpointError(
                f"tensor {name!r}",
                expected="finite values",
                got="NaN or infinity",
                fix="the file seems damaged; get it again",
            )


def _listing(names: list[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
