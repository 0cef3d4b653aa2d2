"""Checkpoints as the public codes write them, by stand-ins for their classes.

The stand-ins have the names that the real classes have, and nothing else of them. Each brings
"source code" that would leave a mark in `EXECUTED` if a reader ran it.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXECUTED: list[str] = []
SOURCE = "import plugins.checkpoints.writers as w\nw.EXECUTED.append('module_src')\n"
BUFFERS = ("noise_const", "resample_filter", "w_avg")
PROTOCOLS = (2, 3, 4, 5)


def _reconstruct_persistent_obj(meta: Any) -> Any:
    EXECUTED.append("torch_utils")


class Persistent:
    """Pickles as an object of torch_utils.persistence does."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name, self.state = class_name, state

    def __reduce_ex__(self, protocol: Any) -> Any:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": SOURCE,
            "class_name": self.class_name,
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (meta,)


class EasyDict(dict[str, Any]):
    """dnnlib.util.EasyDict."""


class Network:
    """dnnlib.tflib.network.Network."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state

    def __setstate__(self, state: Any) -> None:
        EXECUTED.append("dnnlib")


_NAMES: dict[str, Any] = {
    "torch_utils": {},
    "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
    "dnnlib": {},
    "dnnlib.util": {"EasyDict": EasyDict},
    "dnnlib.tflib": {},
    "dnnlib.tflib.network": {"Network": Network},
}


@contextmanager
def foreign_modules() -> Iterator[None]:
    """The foreign packages, importable while something is written."""
    homes = {}
    try:
        for name, content in _NAMES.items():
            sys.modules[name] = ModuleType(name)
            for attribute, value in content.items():
                homes[value] = value.__module__
                value.__module__ = name
                setattr(sys.modules[name], attribute, value)
        yield
    finally:
        for value, home in homes.items():
            value.__module__ = home
        for name in _NAMES:
            sys.modules.pop(name, None)


def dumps(value: Any, protocol: int = 4) -> bytes:
    """A pickle of ``value``, whose classes may be the stand-ins."""
    with foreign_modules():
        return pickle.dumps(value, protocol)


def torch_save(value: Any, path: Path, *, zipped: bool = True) -> Path:
    """A file of torch.save, in either of its formats."""
    with foreign_modules():
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


# --------------------------------------------------------------- NVIDIA, PyTorch


def nvidia_network(
    state: Mapping[str, Tensor],
    class_name: str = "Generator",
    init_kwargs: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Persistent:
    """A network of modules with ``state`` in them.

    Args:
        settings: of those that the modules keep as attributes, ``conv_clamp``, ``num_fp16_res``,
            ``lr_multiplier``, ``architecture``.
    """
    tree: dict[str, Any] = {}
    for name, tensor in state.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = tensor
    return _module("", tree, class_name, dict(init_kwargs or {}), dict(settings or {}))


def _module(
    path: str, node: dict[str, Any], class_name: str, kwargs: dict[str, Any], settings: Any
) -> Persistent:
    owned = {k: v for k, v in node.items() if isinstance(v, Tensor)}
    state: dict[str, Any] = {
        "training": False,
        "_parameters": OrderedDict(
            (k, torch.nn.Parameter(v)) for k, v in owned.items() if k not in BUFFERS
        ),
        "_buffers": OrderedDict((k, v) for k, v in owned.items() if k in BUFFERS),
        "_non_persistent_buffers_set": set(),
        "_forward_hooks": OrderedDict(),
        "_modules": OrderedDict(
            (k, _module(f"{path}.{k}", v, k.capitalize(), {}, settings))
            for k, v in node.items()
            if isinstance(v, dict)
        ),
        "_init_args": (),
        "_init_kwargs": EasyDict(kwargs),
    }
    return Persistent(class_name, state | _attributes(path, state, settings))


def _attributes(path: str, state: dict[str, Any], settings: Any) -> dict[str, Any]:
    last = path.rsplit(".", 1)[-1]
    if not settings:
        return {}
    if last.startswith("fc"):
        return {"activation": "lrelu", "bias_gain": settings["lr_multiplier"]}
    if last in ("conv0", "conv1", "torgb"):
        kind = {} if last == "torgb" else {"activation": "lrelu", "use_noise": True}
        return {"conv_clamp": settings["conv_clamp"], **kind}
    if last[:1] == "b" and last[1:].isdigit():
        resolution = int(last[1:])
        half = resolution > settings["img_resolution"] >> settings["num_fp16_res"]
        return {"resolution": resolution, "architecture": "skip", "use_fp16": half}
    return {}


def nvidia_snapshot(g_ema: Persistent, **others: Any) -> dict[str, Any]:
    """What the training script saves."""
    return {
        "training_set_kwargs": EasyDict(path="data.zip", resolution=32, use_labels=False),
        **others,
        "G_ema": g_ema,
        "augment_pipe": None,
    }


# ------------------------------------------------------------------- TensorFlow


def tf_network(
    variables: Mapping[str, Tensor], static_kwargs: Mapping[str, Any], version: int = 4
) -> Network:
    """A generator of the TensorFlow era, its variables spread over its components."""

    def part(prefix: str, name: str) -> Network:
        own = {k.removeprefix(prefix): v for k, v in variables.items() if k.startswith(prefix)}
        if not prefix:
            own = {k: v for k, v in own.items() if "/" not in k}
        state = {
            "version": version,
            "name": name,
            "static_kwargs": EasyDict(static_kwargs),
            "components": {},
            "build_module_src": SOURCE,
            "build_func_name": "G_main" if name == "Gs" else f"G_{name}",
            "variables": [(k, _array(v)) for k, v in own.items()],
        }
        return Network(state)

    whole = part("", "Gs")
    for name in ("mapping", "synthesis"):
        whole.state["components"][name] = part(f"{name}/", name)
    return whole


def _array(tensor: Tensor) -> Any:
    return tensor.numpy() if tensor.ndim else np.float32(tensor.item())


# ------------------------------------------------------------------ rosinality


def rosinality_training(g_ema: Mapping[str, Tensor], **others: Any) -> dict[str, Any]:
    """What rosinality's training script saves."""
    some = {"conv.weight": torch.zeros(3, 3)}
    return {
        "g": dict(g_ema),
        "d": some,
        "g_ema": OrderedDict(g_ema),
        "g_optim": {"state": {0: {"step": 7, "exp_avg": torch.ones(2)}}, "param_groups": []},
        "args": argparse.Namespace(size=32, mixing=0.9, path=None, arch="stylegan2"),
        "ada_aug_p": 0.1,
        **others,
    }
