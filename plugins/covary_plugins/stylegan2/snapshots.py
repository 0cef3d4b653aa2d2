"""Finding the generator in a checkpoint: its tensors, and the settings that they do not show."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from covary.errors import CheckpointError
from covary_plugins.checkpoints import LazyTensor, Network, Persistent, Tree, listed

from .names import NESTED
from .names_tf import from_network

__all__ = ["Snapshot", "check_kwargs", "find_generator"]

_AVERAGE = "the moving average of the generator (G_ema, g_ema or Gs)"
_ANOTHER = "use the checkpoint of a StyleGAN2 generator"
_SIZES = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A generator as a file has it.

    Attributes:
        state: tensors or LazyTensors, under NVIDIA's or rosinality's names.
        init_kwargs: constructor arguments under NVIDIA's names.
        format: what kind of file it is from, in words.
        note: what the user should know about the choice, or nothing.
        license: what the file says of its licence, or nothing.
    """

    state: Mapping[str, Any]
    init_kwargs: Mapping[str, Any] = field(default_factory=dict)
    format: str = "a state dict"
    note: str = ""
    license: str = ""


def find_generator(tree: Tree) -> Snapshot:
    """The generator in what `read_checkpoint` gave: the moving average where there is one.

    Raises:
        CheckpointError: no StyleGAN2 generator in it; the message says what there is instead.
    """
    snapshot = _find(tree)
    _refuse_other_networks(snapshot.state)
    _check_tensors(snapshot.state)
    return snapshot


def _find(tree: Tree) -> Snapshot:
    if isinstance(tree, Persistent):
        return _from_modules(tree)
    if isinstance(tree, Network):
        tensors, kwargs = from_network(tree)
        return Snapshot(tensors, kwargs, "TensorFlow pickle")
    if isinstance(tree, tuple | list) and tree and isinstance(tree[-1], Persistent | Network):
        return _find(tree[-1])  # (G, D, Gs)
    if not isinstance(tree, Mapping):
        raise _nothing(type(tree).__name__)
    for key, training in (("G_ema", "G"), ("g_ema", "g")):
        if tree.get(key) is not None:
            return _entry(tree, key, "")
        if tree.get(training) is not None:
            note = f"it holds no {key}, so {training} is used, as it was at its last training step"
            return _entry(tree, training, note)
    if tree and all(isinstance(value, LazyTensor) for value in tree.values()):
        return Snapshot(tree, format="torch.save of a state dict")
    inner = tree.get("state_dict")
    if isinstance(inner, Mapping):
        _refuse_inverters(inner)
        return _find(inner)
    raise _nothing(f"a dictionary of {listed(tree, 'nothing')}")


def _entry(tree: Mapping[str, Any], key: str, note: str) -> Snapshot:
    found = tree[key]
    if isinstance(found, Persistent):
        snapshot = _from_modules(found)
        return Snapshot(snapshot.state, snapshot.init_kwargs, snapshot.format, note)
    if not isinstance(found, Mapping) or not found:
        raise _nothing(f"{key!r}: {type(found).__name__}")
    mean = {"latent_avg": tree["latent_avg"]} if tree.get("latent_avg") is not None else {}
    kind = "rosinality .pt" if "input.input" in found else "torch.save of a state dict"
    return Snapshot({**found, **mean}, format=kind, note=note)


# ------------------------------------------------------------ NVIDIA's modules


def _from_modules(root: Persistent) -> Snapshot:
    modules = dict(_named_modules(root))
    tensors: dict[str, Any] = {}
    for prefix, module in modules.items():
        hidden = module.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            owned = module.get(kind)
            for name, value in owned.items() if isinstance(owned, Mapping) else ():
                if value is not None and not (kind == "_buffers" and name in hidden):
                    tensors[f"{prefix}{name}"] = value
    if root.class_name != "Generator" and "synthesis.b4.conv1.weight" not in tensors:
        raise _nothing(f"a network called {root.class_name!r}")
    return Snapshot(tensors, _module_settings(modules), "NVIDIA PyTorch pickle")


def _named_modules(module: Persistent, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if len(prefix) > _LONGEST_PREFIX:
        raise _nothing("modules nested beyond any use")
    yield prefix, module.state
    inner = module.state.get("_modules")
    for name, child in inner.items() if isinstance(inner, Mapping) else ():
        if isinstance(child, Persistent):
            yield from _named_modules(child, f"{prefix}{name}.")


def _module_settings(modules: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the modules were made with: their own attributes, which defaults cannot blur.

    Releases differ in the defaults of the constructor, so the arguments of the constructor are
    only asked where the attributes are silent.
    """
    root, given = modules[""], _flatten(modules[""].get("_init_kwargs"))

    def setting(pattern: str, attribute: str, argument: str) -> dict[str, Any]:
        values = {
            module[attribute]
            for prefix, module in modules.items()
            if re.fullmatch(pattern, prefix) and _is_plain(module.get(attribute, ()))
        }
        if len(values) > 1:
            raise CheckpointError(
                "the generator",
                expected=f"one value of {attribute} in all of its layers",
                got=", ".join(sorted(map(repr, values))[:4]),
                fix=_ANOTHER,
            )
        if values:
            return {argument: values.pop()}
        return {argument: given[argument]} if argument in given else {}

    sizes = {name: root.get(name, given.get(name)) for name in _SIZES}
    return {
        **{name: value for name, value in sizes.items() if value is not None},
        "mapping_kwargs": {
            **setting(r"mapping\.", "num_layers", "num_layers"),
            **setting(r"mapping\.fc\d+\.", "bias_gain", "lr_multiplier"),
        },
        "synthesis_kwargs": {
            **setting(r"synthesis\.b\d+\.", "architecture", "architecture"),
            **setting(r"synthesis\.b\d+\.(conv0|conv1|torgb)\.", "conv_clamp", "conv_clamp"),
            **setting(
                r"synthesis\.b\d+\.(conv0|conv1)\.|mapping\.fc\d+\.", "activation", "activation"
            ),
            **_fp16_blocks(modules, given),
        },
    }


def _fp16_blocks(
    modules: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    blocks = [
        module for name, module in modules.items() if re.fullmatch(r"synthesis\.b\d+\.", name)
    ]
    if any("use_fp16" in block for block in blocks):
        return {"num_fp16_res": sum(block.get("use_fp16") is True for block in blocks)}
    count = modules.get("synthesis.", {}).get("num_fp16_res", given.get("num_fp16_res"))
    return {} if count is None else {"num_fp16_res": count}


def _flatten(kwargs: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in kwargs.items() if isinstance(kwargs, Mapping) else ():
        if isinstance(value, Mapping):
            flat |= _flatten(value)
        elif _is_plain(value):
            flat[key] = value
    return flat


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


# --------------------------------------------------------------------- checks

_LONGEST_PREFIX = 256
_NUMBER, _COUNT = (int, float), (int,)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((*_SIZES, "num_layers", "num_fp16_res"), _COUNT),
    **dict.fromkeys(("lr_multiplier", "lr_mlp"), _NUMBER),
    "conv_clamp": (*_NUMBER, type(None)),
    "architecture": (str,),
    "activation": (str,),
}


_DEEPEST = 8
_LARGEST_SETTING = 2**31


def check_kwargs(kwargs: Mapping[str, Any], depth: int = 0) -> None:
    """Makes sure that constructor arguments from a file are of the types they should be of.

    Raises:
        CheckpointError: one is not.
    """
    if depth > _DEEPEST:
        raise _nothing("settings nested beyond any use")
    for name, value in kwargs.items():
        if isinstance(value, Mapping):
            check_kwargs(value, depth + 1)
        elif name in NESTED and value is not None:
            raise _wrong_type(name, "a mapping", value)
        elif name in ("resample_filter", "blur_kernel") and value is not None:
            if not _is_filter(value):
                raise _wrong_type(name, "up to 16 finite numbers whose sum is not 0", value)
        elif name in _TYPES and type(value) not in _TYPES[name]:
            raise _wrong_type(name, " or ".join(kind.__name__ for kind in _TYPES[name]), value)
        elif isinstance(value, int | float) and not 0 <= value < _LARGEST_SETTING:
            raise CheckpointError(
                f"the setting {name}",
                expected="a finite number that is not negative",
                got=str(value)[:40],
                fix="the file seems damaged; get it again",
            )


def _is_filter(value: Any) -> bool:
    fits = isinstance(value, list | tuple) and 1 <= len(value) <= 16
    if not fits or any(type(tap) not in _NUMBER for tap in value):
        return False
    total = sum(map(float, value))
    return math.isfinite(total) and total != 0


def _wrong_type(name: str, expected: str, value: Any) -> CheckpointError:
    return CheckpointError(
        f"the setting {name}",
        expected=expected,
        got=type(value).__name__,
        fix="the file seems damaged; get it again",
    )


def _check_tensors(state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        kind = getattr(value, "dtype", None)
        if not isinstance(name, str) or not isinstance(kind, torch.dtype):
            raise _nothing(f"{str(name)[:40]!r}: {type(value).__name__}")
        if not kind.is_floating_point:
            raise _nothing(f"{name!r}: a tensor of {kind}")


def _refuse_other_networks(state: Mapping[str, Any]) -> None:
    names = [name for name in state if isinstance(name, str)]
    if any(re.match(r"synthesis\.(input\.|L\d+_\d+)", name) for name in names):
        raise _nothing(
            "an alias-free StyleGAN3 generator, whose layers do not stay in place",
            "use a StyleGAN2 network; the stylegan3 repository has those too",
        )
    if any(
        re.match(r"(b\d+\.(fromrgb|mbstd|out)\.|final_(conv|linear)\.)", name) for name in names
    ):
        raise _nothing("a discriminator")


def _refuse_inverters(state: Mapping[str, Any]) -> None:
    if any(str(name).startswith(("encoder.", "decoder.")) for name in state):
        raise _nothing(
            "an encoder with its decoder (pSp, e4e or ReStyle)",
            "give it to the source restyle, which uses the generator inside",
        )


def _nothing(got: str, fix: str = _ANOTHER) -> CheckpointError:
    return CheckpointError("the checkpoint", expected=_AVERAGE, got=got, fix=fix)
