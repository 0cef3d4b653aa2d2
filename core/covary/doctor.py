"""What this installation has, and what is wrong with it: the ground of ``covary doctor``."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import entry_points, requires
from pathlib import Path
from typing import Any

from ._cuda import cuda_driver
from ._deep import attempt, dangerous_plugins_disabled, trials
from ._explain import ADD_ENTRY_POINT
from ._hooks import GROUP
from ._imports import heavy_imports
from ._metadata import installed_version, silent_dependents
from ._registry import (
    BUILTIN,
    Problem,
    Shelved,
    checkpoint_path,
    components,
    describe,
    is_allowed,
    registry,
    user_registry,
)
from ._store import expected_bytes
from .catalogue import Checkpoint
from .errors import CheckpointError, CovaryError, MissingPackageError, PluginError

__all__ = ["deep_examination", "examine", "finding"]

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


Bar = Callable[[int], AbstractContextManager[Callable[[str], None]]]


def _no_bar(total: int) -> AbstractContextManager[Callable[[str], None]]:
    """No progress shown."""
    return nullcontext(lambda what: None)


def examine(avoid: Collection[str] = ()) -> dict[str, Any]:
    """A report on this installation as plain data; ``problems`` is empty where all is well.

    Versions come from the installed packages' metadata; torch is imported to ask for devices, and
    every component's module to see whether it can be. ``remarks`` are what may be as intended.

    Args:
        avoid: ids of components, and ``torch``, that are known to crash: they are not loaded.
    """
    devices, device_problems = ([], []) if "torch" in avoid else _devices()
    cuda, driver = _cuda_majors(), cuda_driver()
    problems = [
        *registry().problems,
        *_broken_requirements(),
        *device_problems,
        *_broken_components(avoid),
        *_damaged_checkpoints(),
    ]
    remarks = [*_silent_dependents(), *_heavy_plugins(avoid), *_cuda_verdict(driver, cuda)]
    return {
        "covary": installed_version(BUILTIN),
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": _packages(),
        "devices": devices,
        "folders": _folders(),
        "switches": {name: os.environ[name] for name in _SWITCHES if name in os.environ},
        "cuda": cuda,
        "cuda_driver": driver,
        "unavailable": [
            {"id": c.id, "kind": c.kind, "why": why, "fix": c.remedy()}
            for c in components()
            if (why := c.unavailable())
        ],
        "problems": [asdict(problem) for problem in problems],
        "remarks": [asdict(remark) for remark in remarks],
    }


@contextmanager
def deep_examination(timeout: float = 60.0, bar: Bar = _no_bar) -> Iterator[dict[str, Any]]:
    """As :func:`examine`, after every backend and component was tried in its own process.

    The report has two more entries, ``deep`` with a row for each trial and, among the problems,
    those that failed. Plugins that crash are switched off inside this context.

    Args:
        timeout: seconds that one trial may take.
        bar: called with the number of steps; gives a context whose value is told each step.
    """
    with ExitStack() as stack:
        with bar(0) as tell:
            found = stack.enter_context(dangerous_plugins_disabled(timeout, tell))
        todo = trials()
        with bar(len(todo)) as tell:
            for trial in todo:
                tell(trial.what)
                found.append(attempt(trial, timeout))
        report = examine(avoid={name for outcome in found for name in outcome.dangerous})
        report["deep"] = [outcome.row() for outcome in found]
        failed = [asdict(outcome.problem()) for outcome in found if outcome.status == "failed"]
        told = {problem["what"] for problem in report["problems"]}
        report["problems"] += [problem for problem in failed if problem["what"] not in told]
        yield report


def finding(error: CovaryError) -> str:
    """What an error found, without what to do about it, which a problem says on its own."""
    if not error.expected:
        return f"{error.what}: {error.got}" if error.got else error.what
    return str(CovaryError(error.what, expected=error.expected, got=error.got))


def _packages() -> dict[str, str]:
    """Versions of covary's requirements, and of the optional packages that are installed."""
    found = {name: installed_version(name) or "not installed" for name in _required()}
    found.update({name: installed_version(name) for name in _OPTIONAL if installed_version(name)})
    return dict(sorted(found.items()))


def _cuda_majors() -> dict[str, str]:
    """The major version of CUDA that installed packages were built for, empty where none."""
    names = [name for name in ("torch", *_OPTIONAL) if _BUILT_FOR_CUDA.fullmatch(name)]
    return {name: _cuda_major(name) for name in names if installed_version(name)}


def _cuda_major(distribution: str) -> str:
    """As the package's name, its version, or the CUDA packages that it requires have it."""
    texts = [distribution, installed_version(distribution), *(requires(distribution) or ())]
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
        if not installed_version(name):
            yield Problem(
                BUILTIN, name, "covary requires it and it is not installed", _install(name)
            )


def _cuda_verdict(driver: str, majors: Mapping[str, str]) -> Iterator[Problem]:
    """Whether what the packages were built for fits together, and the driver."""
    built = {name: major for name, major in majors.items() if major}
    if len(set(built.values())) > 1:
        each = ", ".join(f"{name} {major}" for name, major in built.items())
        what = f"packages are built for different CUDA majors: {each}"
        fix = "fine as long as they work; where one does not, install its build for torch's CUDA"
        yield Problem(BUILTIN, ", ".join(built), what, fix)
    for name, major in built.items():
        if driver and int(major) > int(driver.partition(".")[0]):
            what = f"it is built for CUDA {major}, and the driver can run CUDA {driver} at most"
            yield Problem(BUILTIN, name, what, "update the driver, or install an older build")


def _silent_dependents() -> Iterator[Problem]:
    for name in silent_dependents():
        what = "it requires covary and offers no plugin"
        fix = f"{ADD_ENTRY_POINT}; ignore this if it only uses covary"
        yield Problem("", name, what, fix)


def _heavy_plugins(avoid: Collection[str]) -> Iterator[Problem]:
    """Where plugins of others load a heavy package by being looked at."""
    for point in entry_points(group=GROUP):
        if point.name == BUILTIN or not is_allowed(point.name):
            continue
        mine = [c for c in components() if c.origin.namespace == point.name]
        usable = [c for c in mine if not (c.missing() or c.incompatible() or c.id in avoid)]
        targets = [c.component.target.partition(":")[0] for c in usable]
        modules = dict.fromkeys([point.value.partition(":")[0].strip(), *targets])
        try:
            found = heavy_imports(list(modules)) if mine else []
        except PluginError:
            continue  # one of its components is broken, which is told as a problem
        for package, file, line in found:
            what = f"{file}:{line} imports {package} as soon as it is listed or shown"
            distribution = mine[0].origin.distribution
            yield Problem(point.name, distribution, what, "import it in the function that uses it")


def _broken_components(avoid: Collection[str]) -> Iterator[Problem]:
    """Components that are listed and cannot be imported; missing packages are told apart."""
    for entry in components():
        if entry.incompatible() or entry.id in avoid:
            continue  # the registry, or the deep examination, has said so
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
