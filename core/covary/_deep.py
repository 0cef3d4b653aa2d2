"""``covary doctor --deep``: every backend tried in a process of its own, whatever becomes of it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from . import processes
from ._hooks import COMMANDS, GROUP
from ._registry import BUILTIN, Problem, Registered, components, describe, is_allowed, registry
from .errors import CheckpointError, CovaryError, InputError, ParamsError, PluginError
from .processes import Ended

__all__ = ["Outcome", "Trial", "attempt", "dangerous_plugins_disabled", "trials"]

_REMEDIES = {
    "SIGILL": "it is built for another processor: install a build for this one, or {without}",
    "timeout": "raise --timeout, or see what it waits for: a download, a lock, a compiler",
    "openmp": "two OpenMP runtimes met in one process: install both packages from one place, "
    "all by pip or all by conda, or {without}",
    "out of memory": "close what else needs memory, and try it again",
}
_DIED = "install it again: pip install --force-reinstall {packages}, or {without}"
_SIDE = 8
_REPORT = "install it again, or report it to its authors"
_OPENMP = re.compile(r"OMP: Error #\d+[^\n]*")


@dataclass(frozen=True, slots=True)
class Trial:
    """Something to be tried."""

    what: str
    """For the report, e.g. ``torch + faiss``."""
    modules: tuple[str, ...]
    """To be imported in this order; torch also computes something, to start its threads."""
    component: tuple[str, str] | None = None
    """Id and kind of a component to be tried after that."""
    origin: tuple[str, str] = (BUILTIN, BUILTIN)
    """Namespace and distribution that a failure is put down to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial."""

    trial: Trial
    status: Literal["ok", "failed"]
    seconds: float
    note: str = ""
    """What went wrong; or why a component was loaded and not run."""
    fix: str = ""
    crashed: bool = False
    """Whether the process died, hung or exited: an exception is none of it."""

    @property
    def dangerous(self) -> Set[str]:
        """Modules and ids that the doctor had better not load itself."""
        alone = self.trial.modules if len(self.trial.modules) == 1 else ()
        names = (self.trial.component[0],) if self.trial.component else alone
        return frozenset(names if self.crashed else ())

    def row(self) -> dict[str, Any]:
        """This outcome as plain data."""
        seconds = round(self.seconds, 2)
        return {
            "what": self.trial.what,
            "status": self.status,
            "seconds": seconds,
            "note": self.note,
            "fix": self.fix,
        }

    def problem(self) -> Problem:
        """A failure as the doctor lists it."""
        return Problem(*self.trial.origin, f"{self.trial.what}: {self.note}", self.fix)


def trials() -> list[Trial]:
    """What there is to try here: installed backends, beside torch and alone, and components.

    Components whose packages or GPU are not here are left out; the doctor lists them anyway.
    """
    usable = [c for c in components() if not (c.unavailable() or c.incompatible())]
    needed = sorted({module for c in usable for module in c.component.requires} - {"torch"})
    return [
        Trial("torch", ("torch",)),
        *(Trial(module, (module,)) for module in needed),
        *(Trial(f"torch + {module}", ("torch", module)) for module in needed),
        *(_trial_of(entry) for entry in usable),
    ]


def attempt(trial: Trial, timeout: float) -> Outcome:
    """What comes of it in a process of its own, which is gone when this returns.

    Args:
        trial: what to try.
        timeout: seconds it may take.
    """
    start = time.perf_counter()
    asked = {"modules": trial.modules, "component": trial.component}
    ended, answer = processes.call(f"{__name__}:_try", asked, timeout)
    seconds = time.perf_counter() - start
    if found := _OPENMP.search(ended.output):
        return Outcome(trial, "failed", seconds, *_explained(trial, "openmp", found[0]), True)
    if ended.status == "ok" and answer is not None:
        return Outcome(trial, answer["status"], seconds, answer["note"], answer["fix"])
    kind, reason = _crash(ended)
    return Outcome(trial, "failed", seconds, *_explained(trial, kind, reason), True)


@contextmanager
def dangerous_plugins_disabled(
    timeout: float, tell: Callable[[str], None] = lambda what: None
) -> Iterator[list[Outcome]]:
    """The plugins whose mere import ends or hangs the process; switched off inside this context.

    Args:
        timeout: seconds for each.
        tell: called with what comes next.
    """
    found, names = [], []
    for point in _plugins():
        origin = (point.name, point.dist.name if point.dist else "unknown distribution")
        trial = Trial(f"plugin {point.name}", (point.value.partition(":")[0],), origin=origin)
        tell(trial.what)
        outcome = attempt(trial, timeout)
        if outcome.crashed:
            found.append(outcome)
            names += _namespaces(point)
    before = os.environ.get("COVARY_DISABLE")
    if names:
        os.environ["COVARY_DISABLE"] = ",".join(filter(None, (before, *names)))
        registry.cache_clear()
    try:
        yield found
    finally:
        if names:
            os.environ.pop("COVARY_DISABLE")
            if before is not None:
                os.environ["COVARY_DISABLE"] = before
            registry.cache_clear()


def _plugins() -> list[EntryPoint]:
    points = [*entry_points(group=GROUP), *entry_points(group=COMMANDS)]
    return [
        point
        for point in points
        if (point.dist is None or point.dist.name != BUILTIN)
        and all(map(is_allowed, _namespaces(point)))
    ]


def _namespaces(point: EntryPoint) -> list[str]:
    """By which COVARY_DISABLE knows what the entry point offers."""
    if point.group == GROUP or point.dist is None:
        return [point.name]
    offered = [each.name for each in point.dist.entry_points if each.group == GROUP]
    return offered or [point.dist.name]


def _trial_of(entry: Registered) -> Trial:
    origin = (entry.origin.namespace, entry.origin.distribution)
    module = entry.component.target.partition(":")[0]
    return Trial(f"{entry.id} ({entry.kind})", (module,), (entry.id, entry.kind), origin)


def _crash(ended: Ended) -> tuple[str, str]:
    """(what kind of end it was, in words)."""
    if ended.status == "ok":
        return "exit", "ended the process without an error"
    return ended.signal if ended.status == "crashed" else ended.status, ended.reason


def _explained(trial: Trial, kind: str, reason: str) -> tuple[str, str]:
    """(note, fix) of a process that did not come to its end."""
    without = f"do without {trial.origin[1]}: COVARY_DISABLE={trial.origin[0]}"
    if trial.origin[0] == BUILTIN:
        without = "use another clusterer" if trial.what != "torch" else "use another build"
    packages = trial.origin[1] if trial.component else " ".join(trial.modules)
    return reason, _REMEDIES.get(kind, _DIED).format(packages=packages, without=without)


def _try(asked: dict[str, Any]) -> dict[str, str]:
    """What the child process does."""
    try:
        for module in asked["modules"]:
            if import_module(module).__name__ == "torch":
                _start_threads()
        note = _use(*asked["component"]) if asked["component"] else ""
    except ParamsError:
        return {"status": "ok", "note": "loaded, not run: it needs parameters", "fix": ""}
    except (InputError, CheckpointError) as error:  # it works, and refuses what it was given
        return {"status": "ok", "note": f"loaded, not run: {error.what}", "fix": ""}
    except CovaryError as error:
        return {"status": "failed", "note": str(error), "fix": error.fix or "report it"}
    except Exception as error:
        return {"status": "failed", "note": describe(error), "fix": _REPORT}
    return {"status": "ok", "note": note, "fix": ""}


def _start_threads() -> None:
    """Let torch start its pool of threads, so that a second OpenMP runtime meets the first."""
    import torch

    for device in _devices(("cpu", "cuda")):
        matrix = torch.ones(512, 512, device=device)
        (matrix @ matrix).sum().item()


def _use(name: str, kind: str) -> str:
    """Create a component and run it on a few pixels; why it was not run, or an empty string."""
    from ._registry import find

    entry = find(name, kind)
    component = entry.create({})
    uses = {
        "features": _encode,
        "clusterer": _fit,
        "foreground": _select,
        "refiner": _refine,
        "segmenter": _label,
        "writer": _write,
    }
    use = uses.get(kind)
    if use is None:
        return "loaded, not run: it needs an image or weights"
    import torch

    for device in _devices(entry.component.devices):
        use(component, torch.device(device))
    return ""


def _devices(possible: Sequence[str]) -> list[str]:
    import torch

    here = {"cpu": True, "cuda": torch.cuda.is_available()}
    return [device for device in possible if here.get(device)]


def _encode(features: Any, device: Any) -> None:
    from ._verify import encoded_by
    from .types import VariantBatch

    batch = VariantBatch(_image(device)[None])
    encoded_by(features, batch, (_SIDE, _SIDE), features.encode(batch))


def _fit(clusterer: Any, device: Any) -> Any:
    from ._verify import clusters_of
    from .context import RunContext
    from .summary import StyleSummary

    summary = StyleSummary(_image(device).reshape(3, -1).T, (_SIDE, _SIDE))
    return clusters_of(clusterer, clusterer.fit(summary, RunContext(device=device)), summary)


def _select(rule: Any, device: Any) -> None:
    from ._verify import foreground_of
    from .context import RunContext
    from .types import ClusterMap

    image = _image(device)
    labels = (image[0] > 127).int()
    clusters = ClusterMap.from_labels(
        labels, image.float().mean((1, 2)).repeat(2, 1), size=(_SIDE, _SIDE), inertia=0.0,
        iterations=1,
    )  # fmt: skip
    foreground_of(rule, rule.select(clusters, image, RunContext(device=device)), clusters)


def _refine(refiner: Any, device: Any) -> None:
    from ._verify import refined_by
    from .context import RunContext

    image = _image(device)
    soft = image[0].float() / 255
    refined_by(refiner, refiner.refine(soft, image, RunContext(device=device)), soft)


def _label(segmenter: Any, device: Any) -> None:
    from .context import RunContext

    image = _image(device)
    labels = segmenter.segment(image[None], RunContext(device=device))
    if tuple(labels.shape) != (1, _SIDE, _SIDE):
        raise PluginError(
            f"labels of segmenter {segmenter.id}",
            expected=f"shape {(1, _SIDE, _SIDE)}",
            got=str(tuple(labels.shape)),
        )


def _write(writer: Any, device: Any) -> None:
    """Write a shard of two samples, finish it, and read it back where the writer can."""
    from tempfile import TemporaryDirectory

    from .interfaces import SupportsReading
    from .samples import DataSet, Sample, Shard

    image = _image(device)
    samples = [Sample(f"{seed:09d}", seed, image, (image[seed] > 127).byte()) for seed in (0, 1)]
    classes = ("background", "foreground")
    shard = Shard("train-00000", "train", (0, 1))
    whole = DataSet("deep", "foreground", classes, (shard,), {"train": 2})
    with TemporaryDirectory(prefix="covary-") as place:
        root, end = Path(place, "root"), Path(place, "end")
        root.mkdir()
        end.mkdir()
        writer.write(iter(samples), shard, DataSet("deep", "foreground", classes), root)
        writer.finish(whole, root, end)
        shutil.copytree(end, root, dirs_exist_ok=True)
        read = list(writer.read(root)) if isinstance(writer, SupportsReading) else samples
        if [one.mask.tolist() for one in read] != [one.mask.tolist() for one in samples]:
            raise PluginError("writer", expected="the samples that it wrote", got="others")


def _image(device: Any) -> Any:
    """uint8 (3, 8, 8) of random colours."""
    import torch

    drawn = torch.randint(0, 256, (3, _SIDE, _SIDE), generator=torch.Generator().manual_seed(0))
    return drawn.to(device=device, dtype=torch.uint8)
