"""State-dict layouts: recognising them, NVIDIA's names for all, and sizes read from the shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from covary.errors import CheckpointError, did_you_mean
from covary_plugins.checkpoints import check_tensors

from .architecture import Architecture, Kind
from .names_rosinality import from_rosinality
from .ops import fir_filter

__all__ = ["NESTED", "LoadPlan", "check_state", "load_plan"]

_FIX = "pass the generator's own state dict (G_ema or g_ema), in NVIDIA's or rosinality's layout"

# Constructor arguments that say nothing the shapes do not, or that only concern training.
_WITHOUT_EFFECT = {
    "channel_base",
    "channel_max",
    "channel_multiplier",
    "fp16_channels_last",
    "fused_modconv_default",
    "layer_features",
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
    "architecture": "architecture",
    "c_dim": "c_dim",
    "embed_features": "embed_features",
    "num_layers": "mapping_layers",
    "n_mlp": "mapping_layers",
}
_ONLY = {"activation": "lrelu"}
_SETTINGS = {
    "blur_kernel",
    "conv_clamp",
    "lr_mlp",
    "lr_multiplier",
    "num_fp16_res",
    "resample_filter",
    "use_fp16",
}
_WIDEST = 8192  # features of the mapping network; published ones have 512
NESTED = ("mapping_kwargs", "synthesis_kwargs", "block_kwargs", "layer_kwargs")


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
    filters = {
        name.removesuffix(".resample_filter"): tensors.pop(name).detach().float()
        for name in list(tensors)
        if name.endswith(".resample_filter")
    }
    for name, f in filters.items():
        square = f.ndim == 2 and f.shape[0] == f.shape[1] and 1 <= len(f) <= 16
        if not square or not (f.is_meta or bool(f.isfinite().all())):
            raise CheckpointError(
                f"tensor '{name}.resample_filter'",
                expected="a finite filter (k, k) with k up to 16",
                got=f"shape {tuple(f.shape)}",
                fix="the file seems damaged; get it again",
            )
    tensors = {name: _stored(tensor) for name, tensor in tensors.items()}
    architecture = _architecture(tensors, settings)
    _check_settings(architecture, settings)
    taps = settings.get("resample_filter", settings.get("blur_kernel")) or (1, 3, 3, 1)
    return LoadPlan(architecture, tensors, filters, fir_filter(taps))


def _flatten(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in kwargs.items():
        if key in NESTED:
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
        return from_rosinality(tensors, _FIX)
    some = ", ".join(list(tensors)[:4]) or "nothing"
    if any(name.startswith("synthesis.input.") for name in tensors):
        some += " (an alias-free StyleGAN3, another network)"
    raise CheckpointError(
        "the state dict",
        expected="StyleGAN2's 'synthesis.b4.const' (NVIDIA) or 'input.input' (rosinality)",
        got=some,
        fix=_FIX,
    )


def _stored(tensor: Tensor) -> Tensor:
    """A float32 copy; 3x3 kernels in the memory layout that the convolutions want them in."""
    # Not 1x1 kernels: their layout is ambiguous, and torch's grouped convolution then computes
    # wrong gradients.
    kernel = tensor.ndim == 4 and tensor.shape[-1] > 1
    layout = torch.channels_last if kernel else torch.contiguous_format
    return tensor.detach().to(torch.float32, copy=True, memory_format=layout)


def _architecture(tensors: dict[str, Tensor], settings: dict[str, Any]) -> Architecture:
    depth = _count(tensors, r"mapping\.fc(\d{1,5})\.weight")
    resolutions = sorted(
        int(m[1])
        for name in tensors
        if (m := re.fullmatch(r"synthesis\.b(\d{1,5})\.conv1\.weight", name))
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
    if max(max(w.shape, default=0) for w in weights) > _WIDEST:
        raise CheckpointError(
            "the mapping network",
            expected=f"layers of at most {_WIDEST} features",
            got="wider ones",
            fix="the file seems damaged; get it again",
        )
    channels = [tensors[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions]
    clamp = settings.get("conv_clamp")
    embed = tensors.get("mapping.embed.weight")
    embed_features, c_dim = (0, 0) if embed is None or embed.ndim != 2 else embed.shape
    last = f"synthesis.b{resolutions[-1]}.torgb.weight"
    return Architecture(
        mapping_widths=(weights[0].shape[1] - embed_features, *(w.shape[0] for w in weights)),
        channels=tuple(channels),
        img_channels=tensors[last].shape[0] if last in tensors else 3,
        conv_clamp=None if clamp is None else float(clamp),
        lr_multiplier=float(settings.get("lr_multiplier", settings.get("lr_mlp", 0.01))),
        use_noise=any(name.endswith(".noise_strength") for name in tensors),
        kind=_kind(tensors),
        c_dim=c_dim,
        embed_features=embed_features,
        num_fp16_res=_num_fp16_res(settings),
    )


def _kind(tensors: dict[str, Tensor]) -> Kind:
    if any(re.search(r"\.b\d+\.skip\.weight$", name) for name in tensors):
        return "resnet"
    return "skip" if "synthesis.b4.torgb.weight" in tensors else "orig"


def _num_fp16_res(settings: dict[str, Any]) -> int:
    """Of the whole network; a block's own ``use_fp16`` says only whether there are any."""
    count = settings.get("num_fp16_res") or 0
    use = settings.get("use_fp16")
    return 0 if use is False else int(count or (4 if use else 0))


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
        "architecture": architecture.kind,
        "c_dim": architecture.c_dim,
        "embed_features": architecture.embed_features,
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


def check_state(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> None:
    """Compares ``tensors`` with the state dict of the generator they are meant for.

    Raises:
        CheckpointError: names missing or unknown, another shape, values that are not finite.
    """
    stored = {name: t for name, t in network.items() if not name.endswith(".resample_filter")}
    check_tensors(tensors, stored, of="a StyleGAN2", fix=_FIX, optional={"mapping.w_avg"})
