"""Which modules load a heavy package as soon as they are imported, and on which line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FrameType
from typing import Any, NamedTuple

from .errors import PluginError
from .processes import call

__all__ = ["HEAVY_PACKAGES", "HeavyImport", "heavy_imports"]

HEAVY_PACKAGES = frozenset(
    (
        *("accelerate", "cudf", "cuml", "cupy", "cv2", "daal4py", "datasets", "diffusers"),
        *("faiss", "flash_kmeans", "jax", "kornia", "librosa", "matplotlib", "numba"),
        *("onnxruntime", "pandas", "ray", "scipy", "skimage", "sklearn", "sklearnex"),
        *("tensorflow", "timm", "torch", "torchaudio", "torchvision", "transformers", "triton"),
    )
)
"""Top-level packages that take long to import; a component imports them where it uses them."""

_IMPORTLIB = {"importlib", "importlib_external"}


class HeavyImport(NamedTuple):
    """A heavy package and the line that loads it."""

    package: str
    """One of ``HEAVY_PACKAGES``."""
    file: str
    """The module that imports it: of the packages asked about, else of one that they import."""
    line: int


def heavy_imports(modules: Sequence[str], timeout: float = 60.0) -> list[HeavyImport]:
    """What importing these modules, in this order, loads of the heavy packages.

    A process of its own imports them, with this process's ``sys.path`` and environment. A heavy
    package that another one imports is put down to the line that imports that other one.

    Args:
        modules: names as in an import statement.
        timeout: seconds for all of them together.

    Raises:
        PluginError: one of them cannot be imported, or not in time.
    """
    ended, answer = call(f"{__name__}:_record", list(modules), timeout)
    found = answer or {}
    if ended.status == "ok" and "imports" in found:
        return [HeavyImport(*each) for each in found["imports"]]
    got = found.get("error") or ended.reason or "the process ended early"
    raise PluginError(
        f"{found.get('module') or ', '.join(modules)} cannot be imported",
        got=got,
        fix=f"try it: python -c 'import {found.get('module') or ', '.join(modules)}'",
    )


class _Recorder(MetaPathFinder):
    """Finds nothing, and notes which heavy package is looked for and from where."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.own = {name.split(".")[0] for name in modules}
        self.found: dict[str, tuple[str, int]] = {}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname in HEAVY_PACKAGES and fullname not in self.found:
            frames = list(_callers(sys._getframe(1)))
            # Looking whether a package is installed is not importing it.
            if not any(_module(frame) == "importlib.util" for frame in frames[:4]):
                self.found[fullname] = self._culprit(frames)
        return None

    def _culprit(self, frames: Sequence[FrameType]) -> tuple[str, int]:
        """The innermost line of the packages asked about, else of any that is not heavy."""
        roots = [(_module(frame).split(".")[0], frame) for frame in frames]
        mine = [frame for root, frame in roots if root in self.own]
        others = [frame for root, frame in roots if root not in HEAVY_PACKAGES | _IMPORTLIB]
        frame = (mine or others or frames)[0]
        return frame.f_code.co_filename, frame.f_lineno


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    # The core of importlib calls itself _frozen_importlib and _frozen_importlib_external.
    return str(frame.f_globals.get("__name__", "")).removeprefix("_frozen_")


def _record(modules: Sequence[str]) -> dict[str, Any]:
    """Import the modules and tell what was heavy: what the child process runs."""
    recorder = _Recorder(modules)
    sys.meta_path.insert(0, recorder)
    for name in modules:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            from ._registry import describe

            return {"module": name, "error": describe(error)}
    return {"imports": [(package, *where) for package, where in recorder.found.items()]}
