"""StyleGAN2 networks of the TensorFlow era (config-e, config-f, ADA) under NVIDIA's PyTorch names.

Facts, not code, were used: names and layouts of the variables, and what the PyTorch networks do
with theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from covary.errors import CheckpointError
from covary_plugins.checkpoints import LazyTensor, Network, load_tensors

__all__ = ["from_network"]

_LONGEST_NAME = 256
_OLDEST = 4
_ANOTHER = "use a generator of StyleGAN2 (config-e or config-f) or of StyleGAN2-ADA"

_KWARGS = {
    "latent_size": "z_dim",
    "label_size": "c_dim",
    "dlatent_size": "w_dim",
    "resolution": "img_resolution",
    "num_channels": "img_channels",
}
_MAPPING_KWARGS = {"mapping_layers": "num_layers", "mapping_lrmul": "lr_multiplier"}
_SYNTHESIS_KWARGS = {
    "architecture": "architecture",
    "conv_clamp": "conv_clamp",
    "num_fp16_res": "num_fp16_res",
    "nonlinearity": "activation",
    "resample_kernel": "resample_filter",
}
_LAYERS = {
    "Conv": "conv1",
    "Conv0_up": "conv0",
    "Conv1": "conv1",
    "ToRGB": "torgb",
    "Skip": "skip",
}
_PARTS = {
    "weight": "weight",
    "bias": "bias",
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
    "noise_strength": "noise_strength",
}


def from_network(network: Network) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors under NVIDIA's PyTorch names, and constructor arguments, of a generator ``Gs``.

    Raises:
        CheckpointError: StyleGAN1, configs A to D, a discriminator, or a variable that StyleGAN2
            does not have.
    """
    variables = _flatten(network)
    _refuse_other_networks(network, variables)
    tensors: dict[str, Tensor] = {}
    for name, value in load_tensors(variables).items():
        renamed = _renamed(name)
        if renamed is None:
            raise _not_stylegan2(f"a variable {name!r}")
        target, layout = renamed
        if target:
            tensors[target] = _laid_out(name, value, layout)
    given = network.state.get("static_kwargs")
    return tensors, _init_kwargs(given if isinstance(given, Mapping) else {})


def _flatten(network: Network, prefix: str = "") -> dict[str, Any]:
    """All variables, those of components under the component's name."""
    found: dict[str, Any] = {}
    variables = network.state.get("variables")
    for item in variables if isinstance(variables, list) else ():
        if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str)):
            raise _not_stylegan2("a variable without a name")
        name, value = item
        if len(prefix) + len(name) > _LONGEST_NAME:
            raise _not_stylegan2("names longer than any use")
        if not isinstance(value, LazyTensor | int | float):
            raise _not_stylegan2(f"a variable {name!r} of type {type(value).__name__}")
        found[prefix + name] = value
    components = network.state.get("components")
    for name, component in components.items() if isinstance(components, Mapping) else ():
        if isinstance(component, Network) and len(prefix) + len(name) <= _LONGEST_NAME:
            found |= _flatten(component, f"{prefix}{name}/")
    return found


def _refuse_other_networks(network: Network, variables: Mapping[str, Any]) -> None:
    version = network.state.get("version")
    if not isinstance(version, int) or version < _OLDEST:
        raise _not_stylegan2(f"a StyleGAN1 or older network (its format is version {version})")
    if any("ToRGB_lod" in name for name in variables):
        raise _not_stylegan2("a network of StyleGAN2's configs A to D, which grow progressively")
    if any(name.endswith("/StyleMod/weight") for name in variables):
        raise _not_stylegan2("a StyleGAN1")
    if not any(name.startswith("synthesis/") for name in variables):
        kind = network.state.get("build_func_name") or network.state.get("name")
        what = "a discriminator" if str(kind).startswith("D") else "no synthesis network"
        raise _not_stylegan2(f"{what} ({kind})")


def _renamed(name: str) -> tuple[str, str] | None:
    """(NVIDIA's name, the layout to change) of a variable; an empty name leaves it out."""
    if name in ("lod", "dlatent_avg"):
        return ("mapping.w_avg" if name == "dlatent_avg" else ""), "plain"
    if m := re.fullmatch(r"mapping/Dense(\d{1,3})/(weight|bias)", name):
        return f"mapping.fc{int(m[1])}.{m[2]}", "dense" if m[2] == "weight" else "plain"
    if m := re.fullmatch(r"mapping/LabelEmbed/(weight|bias)", name):
        return f"mapping.embed.{m[1]}", "dense" if m[1] == "weight" else "plain"
    if m := re.fullmatch(r"synthesis/noise(\d{1,3})", name):
        log2, conv = divmod(int(m[1]) + 5, 2)
        return f"synthesis.b{2**log2}.conv{conv}.noise_const", "map"
    if name == "synthesis/4x4/Const/const":
        return "synthesis.b4.const", "first"
    if m := re.fullmatch(r"synthesis/(\d{1,5})x\1/(\w+)/(\w+)", name):
        layer, part = _LAYERS.get(m[2]), _PARTS.get(m[3])
        if layer and part:
            layout = m[3] if m[3] != "weight" else "up" if m[2] == "Conv0_up" else "conv"
            return f"synthesis.b{m[1]}.{layer}.{part}", layout
    return None


_LAYOUTS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "bias": (1, lambda t: t),
    "plain": (-1, lambda t: t),
    "dense": (2, lambda t: t.T),
    "mod_weight": (2, lambda t: t.T),
    "mod_bias": (1, lambda t: t + 1),
    "noise_strength": (0, lambda t: t),
    "first": (4, lambda t: t[0]),
    "map": (4, lambda t: t[0, 0]),
    "conv": (4, lambda t: t.permute(3, 2, 0, 1)),
    # TensorFlow's upsampling convolution uses the kernel as it is, PyTorch's transposed one flips.
    "up": (4, lambda t: t.flip(0, 1).permute(3, 2, 0, 1)),
}
"""How variables are laid out -> their dimensions (-1: any) and what brings them into PyTorch's."""


def _laid_out(name: str, stored: Tensor | float, layout: str) -> Tensor:
    value = stored if isinstance(stored, Tensor) else torch.tensor(float(stored))
    dimensions, change = _LAYOUTS[layout]
    if dimensions not in (-1, value.ndim) or 0 in value.shape:
        raise CheckpointError(
            f"variable {name!r}",
            expected=f"{dimensions} dimensions",
            got=f"shape {tuple(value.shape)}",
            fix="the file seems damaged; get it again",
        )
    return change(value).contiguous()


def _init_kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    def some(names: Mapping[str, str]) -> dict[str, Any]:
        return {new: given[old] for old, new in names.items() if given.get(old) is not None}

    return {
        **some(_KWARGS),
        "mapping_kwargs": some(_MAPPING_KWARGS),
        "synthesis_kwargs": some(_SYNTHESIS_KWARGS),
    }


def _not_stylegan2(got: str) -> CheckpointError:
    return CheckpointError("the pickle", expected="a StyleGAN2 generator", got=got, fix=_ANOTHER)
