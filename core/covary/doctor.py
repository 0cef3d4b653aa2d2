"""What this installation has, and what is wrong with it: the ground of ``covary doctor``."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from ._registry import (
    BUILTIN,
    Problem,
    Shelved,
    checkpoint_path,
    components,
    describe,
    registry,
    user_registry,
)
from ._store import expected_bytes
from .catalogue import Checkpoint
from .errors import CheckpointError, CovaryError, MissingPackageError, PluginError

__all__ = ["examine", "finding"]

_OPTIONAL = (
    "cuml-cu12",
    "cuml-cu13",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "diffusers",
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cu12",
    "faiss-gpu-cuvs",
    "flash-kmeans",
    "opencv-python-headless",
    "scikit-learn",
    "scikit-learn-intelex",
    "transformers",
    "triton",
)
# Those whose CUDA has to be one that the driver, and for torch the others, can live with.
_BUILT_FOR_CUDA = re.compile(r"torch|(faiss|cupy|cuml)-.*")
_SWITCHES = (
    "COVARY_PLUGINS",
    "COVARY_DISABLE",
    "COVARY_RAISE",
    "COVARY_TRACE",
    "COVARY_REGISTRY",
)


def examine() -> dict[str, Any]:
    """A report on this installation as plain data; ``problems`` is empty where all is well.

    Versions come from the installed packages' metadata; torch is imported to ask for devices, and
    every component's module to see whether it can be.
    """
    devices, device_problems = _devices()
    problems = [
        *registry().problems,
        *_broken_requirements(),
        *device_problems,
        *_broken_components(),
        *_damaged_checkpoints(),
    ]
    return {
        "covary": _version(BUILTIN),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": _packages(),
        "devices": devices,
        "folders": _folders(),
        "switches": {name: os.environ[name] for name in _SWITCHES if name in os.environ},
        "cuda": _cuda_majors(),
        "unavailable": [
            {"id": c.id, "kind": c.kind, "why": why, "fix": c.remedy()}
            for c in components()
            if (why := c.unavailable())
        ],
        "problems": [asdict(problem) for problem in problems],
    }


def finding(error: CovaryError) -> str:
    """What an error found, without what to do about it, which a problem says on its own."""
    return f"{error.what}: {error.got}" if error.got else error.what


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _packages() -> dict[str, str]:
    """Versions of covary's requirements, and of the optional packages that are installed."""
    found = {name: _version(name) or "not installed" for name in _required()}
    found.update({name: _version(name) for name in _OPTIONAL if _version(name)})
    return dict(sorted(found.items()))


def _cuda_majors() -> dict[str, str]:
    """The major version of CUDA that installed packages were built for, empty where none."""
    names = [name for name in ("torch", *_OPTIONAL) if _BUILT_FOR_CUDA.fullmatch(name)]
    return {name: _cuda_major(name) for name in names if _version(name)}


def _cuda_major(distribution: str) -> str:
    """As the package's name, its version, or the CUDA packages that it requires have it."""
    texts = [distribution, _version(distribution), *(requires(distribution) or ())]
    for text in texts:
        if found := re.search(r"cuda(\d+)x|[-+]cu(\d\d)\d?\b|^cuda-toolkit\D*(\d+)", text):
            return next(group for group in found.groups() if group)
    return ""


def _required() -> Iterator[str]:
    """Names of the distributions that covary itself requires."""
    for text in requires(BUILTIN) or ():
        if "extra ==" not in text:
            yield re.split(r"[^\w.-]", text, maxsplit=1)[0]


def _broken_requirements() -> Iterator[Problem]:
    for name in _required():
        if not _version(name):
            yield Problem(
                BUILTIN, name, "covary requires it and it is not installed", _install(name)
            )


def _broken_components() -> Iterator[Problem]:
    """Components that are listed and cannot be imported; missing packages are told apart."""
    for entry in components():
        if entry.incompatible():
            continue  # the registry has said so
        try:
            entry.load()
        except MissingPackageError:
            continue
        except PluginError as error:
            origin = entry.origin
            yield Problem(origin.namespace, origin.distribution, finding(error), error.fix)


def _devices() -> tuple[list[dict[str, Any]], list[Problem]]:
    """The CPU and every CUDA device that torch can see."""
    try:
        import torch

        cuda = torch.version.cuda
        devices: list[dict[str, Any]] = [
            {"device": "cpu", "name": platform.processor() or platform.machine()}
        ]
        devices[0]["threads"] = torch.get_num_threads()
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            about = torch.cuda.get_device_properties(index)
            devices.append(
                {
                    "device": f"cuda:{index}",
                    "name": about.name,
                    "memory_bytes": about.total_memory,
                    "cuda": cuda,
                }
            )
    except Exception as error:
        what = f"torch does not work: {describe(error)}"
        return [], [Problem(BUILTIN, "torch", what, _install("torch"))]
    return devices, []


def _folders() -> dict[str, dict[str, Any]]:
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("covary"))
    catalogue = user_registry()
    return {
        "cache": {"path": str(cache), "exists": cache.exists()},
        "catalogue": {"path": str(catalogue), "exists": os.path.exists(catalogue)},
    }


def _damaged_checkpoints() -> Iterator[Problem]:
    """Shipped weights that are gone, and files of another size than the catalogue states."""
    for shelved in registry().checkpoints:
        checkpoint = shelved.entry
        if isinstance(checkpoint, Checkpoint) and not shelved.shadowed:
            yield from _damage(shelved, checkpoint)


def _damage(shelved: Shelved, checkpoint: Checkpoint) -> Iterator[Problem]:
    origin = shelved.origin
    try:
        path = checkpoint_path(checkpoint.name)
    except CheckpointError:
        path = None
    if path is None and checkpoint.file:
        what = f"the weights of checkpoint {checkpoint.name!r} are not at {checkpoint.file}"
        yield Problem(origin.namespace, origin.distribution, what, _repair(shelved))
        return
    expected = expected_bytes(checkpoint)
    if path is not None and expected not in (None, path.stat().st_size):
        what = (
            f"checkpoint {checkpoint.name!r} at {path} has {path.stat().st_size} bytes, "
            f"expected {expected}"
        )
        yield Problem(origin.namespace, origin.distribution, what, "get the file again")


def _repair(shelved: Shelved) -> str:
    if shelved.origin.namespace == "user":
        return f"correct `file` in {shelved.origin.distribution}"
    return f"pip install --force-reinstall {shelved.origin.distribution}"


def _install(distribution: str) -> str:
    return f"pip install {distribution}"
