"""Discovery: walks the plugins one at a time, and keeps what they offer.

A plugin that fails becomes a :class:`Problem` and everything else works. Two plugins of one
namespace: neither loads. pluggy's own loader stops at the first failure, so it is used only to
validate and to call.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, cast

import platformdirs
import pluggy
from pydantic import ValidationError

from . import _explain, _metadata, _store
from ._cuda import cuda_devices
from ._hooks import API_VERSION, GROUP, Hooks
from .catalogue import (
    KINDS,
    CatalogueEntry,
    Checkpoint,
    Component,
    KnownPlugin,
    Preset,
    read_catalogue,
)
from .errors import (
    AmbiguousNameError,
    CheckpointError,
    IncompatibleApiError,
    InputError,
    MissingPackageError,
    PluginError,
    UnknownNameError,
    did_you_mean,
)
from .interfaces import Configurable

__all__ = [
    "BUILTIN",
    "RESERVED",
    "Origin",
    "Problem",
    "Registered",
    "Registry",
    "Shelved",
    "checkpoint_path",
    "components",
    "create",
    "describe",
    "find",
    "is_allowed",
    "preset_names",
    "problems",
    "raising",
    "registry",
    "user_registry",
]

BUILTIN = "covary"
"""The built-ins' namespace; no other distribution may claim it."""

# "user" marks entries of the user's catalogue, "local" components that are not registered.
RESERVED = (BUILTIN, "user", "local")
"""Namespaces that no plugin may claim."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who offered an entry."""

    namespace: str
    distribution: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was met while scanning, and what to do about it."""

    namespace: str
    distribution: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A component together with who offers it."""

    component: Component
    origin: Origin
    preferred: bool = True
    """Whether the short name alone means this component."""

    @property
    def id(self) -> str:
        """Canonical id ``namespace/name``."""
        return f"{self.origin.namespace}/{self.component.name}"

    @property
    def name(self) -> str:
        """Short name."""
        return self.component.name

    @property
    def kind(self) -> str:
        """Which interface it implements."""
        return self.component.kind

    def missing(self) -> tuple[str, ...]:
        """Modules it needs that are not installed; looks without importing them."""
        return tuple(name for name in self.component.requires if not _installed(name))

    def install_command(self) -> str:
        """The command that installs what it needs."""
        extra = f"[{self.component.extra}]" if self.component.extra else ""
        if extra or not self.missing():
            return f"pip install '{self.origin.distribution}{extra}'"
        return f"pip install {' '.join(self.missing())}"

    def unavailable(self) -> str:
        """Why it cannot run here, or an empty string: it needs packages or a GPU that are not here.

        Without the GPU it can still be created, and says itself what it needs once it is to run.
        """
        packages = ", ".join(self.missing())
        gpu = "a CUDA GPU (none was found)" if self._lacks_gpu() else ""
        needs = " and ".join(filter(None, (packages, gpu)))
        return f"needs {needs}" if needs else ""

    def remedy(self) -> str:
        """What to do where it is unavailable, as an imperative; empty where it is not."""
        run = f"run: {self.install_command()}" if self.missing() else ""
        if not self._lacks_gpu():
            return run
        machine = "on a machine with an NVIDIA GPU and its driver"
        return f"{machine}, {run}" if run else f"use it {machine}"

    def _lacks_gpu(self) -> bool:
        return set(self.component.devices) == {"cuda"} and not cuda_devices()

    def incompatible(self) -> str:
        """Why its plugin API does not fit, or an empty string."""
        theirs = tuple(map(int, self.component.api.split(".")))
        ours = tuple(map(int, API_VERSION.split(".")))
        if theirs[0] == ours[0] and theirs[1] <= ours[1]:
            return ""
        return f"{self.id} is written for plugin API {self.component.api}, this is {API_VERSION}"

    def load(self) -> type[Configurable]:
        """The component's class; imports its module, not the packages it needs at run time.

        Raises:
            IncompatibleApiError: another major, or a newer minor, of the plugin API.
            PluginError: the module does not import, or holds no such component.
            MissingPackageError: the module does not import and needs packages that are missing.
        """
        if reason := self.incompatible():
            fix = f"upgrade covary or {self.origin.distribution} so that they meet"
            raise IncompatibleApiError(reason, fix=fix)
        module_name, class_name = self.component.target.split(":")
        report = f"report it to the authors of {self.origin.distribution}"
        try:
            found = getattr(import_module(module_name), class_name)
        except (Exception, SystemExit) as error:
            if raising():
                raise
            if self.missing():
                raise self._missing_packages() from error
            raise self._not_importable(error, report) from error
        expected = _interface(self.kind)
        if not (isinstance(found, type) and issubclass(found, expected)):
            raise PluginError(
                f"{self.id} ({self.component.target})",
                expected=f"a subclass of covary.{expected.__name__}",
                got=repr(found),
                fix=f"inherit from it, correct `kind` or `target` of its component, or {report}",
            )
        if unwritten := sorted(getattr(found, "__abstractmethods__", ())):
            methods = ", ".join(unwritten)
            raise PluginError(
                f"{self.id} does not implement {methods}", fix=f"write it, or {report}"
            )
        return found

    def create(self, params: Mapping[str, Any]) -> Configurable:
        """The component with these parameters; errors as :func:`create`'s."""
        component_class = self.load()
        if self.missing():
            raise self._missing_packages()
        component = component_class(**params)
        component.id = self.id
        return component

    def _not_importable(self, error: BaseException, report: str) -> PluginError:
        target = self.component.target
        what, hint = _explain.missing_target(target, error, _interface(self.kind))
        correct = "correct `target` of its component, or " if what else ""
        return PluginError(
            f"{self.id} cannot be imported from {target}",
            got=what or describe(error),
            fix=f"{hint}{correct}{report}; COVARY_RAISE=1 shows the traceback",
        )

    def _missing_packages(self) -> MissingPackageError:
        needs = f"{self.id} needs {', '.join(self.missing())}"
        return MissingPackageError(needs, fix=f"run: {self.install_command()}")


@dataclass(frozen=True, slots=True)
class Shelved:
    """A checkpoint or preset with who offers it; ``shadowed`` by one of higher precedence."""

    entry: Checkpoint | Preset
    origin: Origin
    shadowed: bool = False


@dataclass(slots=True)
class Registry:
    """Everything that was found."""

    components: tuple[Registered, ...] = ()
    checkpoints: tuple[Shelved, ...] = ()
    presets: tuple[Shelved, ...] = ()
    known_plugins: tuple[KnownPlugin, ...] = ()
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def discover(cls) -> Registry:
        """Scan the entry points and the user's catalogue, as the environment variables say."""
        found = cls()
        offered: list[tuple[Origin, CatalogueEntry]] = []
        # In Python 3.11 it is of another class, with as much of the same interface.
        everyone = cast(EntryPoints, entry_points())
        points = [point for point in everyone.select(group=GROUP) if is_allowed(point.name)]
        found.problems += _misspelt(everyone)
        for point in _unclaimed(points, found.problems):
            with _trace(f"plugin {point.name}"):
                offered += [(_origin(point), entry) for entry in _ask(point, found.problems)]
        registered = [Registered(e, o) for o, e in offered if isinstance(e, Component)]
        found.components = _with_preference(registered)
        shelf = _from_user(found.problems) + offered
        found.checkpoints = _shelve(shelf, Checkpoint)
        found.presets = _shelve(shelf, Preset)
        found.known_plugins = tuple(e for _, e in offered if isinstance(e, KnownPlugin))
        return found

    def find(self, name: str, kind: str | None = None) -> Registered:
        """The component of that short name or canonical id.

        Raises:
            UnknownNameError: none; the message suggests the closest, or how to install it.
            AmbiguousNameError: several, and none of them built in.
        """
        pool = [c for c in self.components if kind in (None, c.kind)]
        matches = [c for c in pool if name in (c.id, c.name)]
        what = f"{kind or 'component'} {name!r}"
        if not matches:
            known = [c.name for c in pool] + [c.id for c in pool if c.origin.namespace != BUILTIN]
            raise UnknownNameError(f"there is no {what}", fix=self._hint(name, kind, known))
        chosen = [c for c in matches if c.origin.namespace == BUILTIN] or matches
        if len(chosen) > 1:
            ids = ", ".join(sorted(f"{c.id} ({c.kind})" for c in chosen))
            raise AmbiguousNameError(
                f"{what} is ambiguous", got=ids, fix="give the full id and kind"
            )
        return chosen[0]

    def preset(self, name: str) -> Preset:
        """The preset of that name with the highest precedence.

        Raises:
            UnknownNameError: none of that name.
        """
        entry = _from_shelf(self.presets, name, "preset")
        assert isinstance(entry, Preset)  # noqa: S101  (for the type checker)
        return entry

    def checkpoint(self, name: str) -> Checkpoint:
        """The catalogue's entry for a checkpoint.

        Raises:
            UnknownNameError: none of that name.
        """
        entry = _from_shelf(self.checkpoints, name, "checkpoint")
        assert isinstance(entry, Checkpoint)  # noqa: S101  (for the type checker)
        return entry

    def _hint(self, name: str, kind: str | None, known: list[str]) -> str:
        elsewhere = [c for c in self.components if name in (c.id, c.name)]
        if elsewhere:
            return f"{name!r} is a {elsewhere[0].kind}, not a {kind}"
        for problem in self.problems:
            if name.startswith(f"{problem.namespace}/"):
                return f"its plugin has a problem: {problem.what} (see `covary doctor`)"
        for plugin in self.known_plugins:
            short = name.removeprefix(f"{plugin.namespace}/")
            if short in plugin.provides or name.startswith(f"{plugin.namespace}/"):
                return f"`pip install {plugin.distribution}` provides it"
        namespace, slash, _ = name.partition("/")
        if slash and (silent := _metadata.plugin_without_entry_point(namespace)):
            return f"{silent} is installed and offers no plugin: {_explain.ADD_ENTRY_POINT}"
        return did_you_mean(name, known)


@cache
def registry() -> Registry:
    """The process's registry, discovered once; ``registry.cache_clear()`` forgets it."""
    return Registry.discover()


def components(kind: str | None = None) -> tuple[Registered, ...]:
    """All registered components, of one kind or of every kind, built-ins first.

    Raises:
        UnknownNameError: ``kind`` is not one of the kinds.
    """
    if kind is not None and kind not in KINDS:
        raise UnknownNameError(f"there is no kind {kind!r}", fix=did_you_mean(kind, KINDS))
    return tuple(c for c in registry().components if kind in (None, c.kind))


def problems() -> tuple[Problem, ...]:
    """What went wrong while the plugins were scanned; empty when all is well."""
    return tuple(registry().problems)


def preset_names() -> tuple[str, ...]:
    """Names for ``Pipeline.preset``."""
    return tuple(shelved.entry.name for shelved in registry().presets if not shelved.shadowed)


def find(name: str, kind: str | None = None) -> Registered:
    """The registered component of that name; see :meth:`Registry.find`."""
    return registry().find(name, kind)


def create(name: str, kind: str | None = None, **params: Any) -> Any:
    """A component by registered name: ``covary.create("lloyd", k=3)``.

    Args:
        name: short name or ``namespace/name``.
        kind: needed only where one name stands for several kinds.
        **params: the component's parameters.

    Raises:
        UnknownNameError: no such component; AmbiguousNameError: several.
        ParamsError: unknown or unfit parameters.
        MissingPackageError: its packages are not installed; says which command installs them.
        IncompatibleApiError, PluginError: the plugin does not fit or does not import.
    """
    return find(name, kind).create(params)


def checkpoint_path(checkpoint: str | os.PathLike[str]) -> Path:
    """Where a checkpoint is on this machine; downloads nothing.

    Args:
        checkpoint: a path, or a name in the catalogue.

    Raises:
        CheckpointError: no such file, or a known checkpoint that has not been put here.
        UnknownNameError: neither a file nor a name in the catalogue.
    """
    given = Path(checkpoint).expanduser()
    if given.is_file():
        return given
    try:
        entry = registry().checkpoint(str(checkpoint))
    except UnknownNameError:
        if not (given.suffix or len(given.parts) > 1 or given.is_dir()):
            raise
        raise CheckpointError(
            f"checkpoint {given}",
            expected="an existing file",
            got="a folder" if given.is_dir() else "no such file",
            fix="check the path, or give a name that `covary list checkpoints` shows",
        ) from None
    found = _store.locate(entry)
    if found is not None:
        return found
    licence = entry.weights_license or "not stated"
    ways = [_store.by_hand(entry)]
    if entry.file:
        ways = ["put it there, or correct `file` in the catalogue that lists it"]
    elif entry.url:
        ways = [
            f"run `covary checkpoints fetch {entry.name}` (from {entry.url})",
            f"or `covary checkpoints add FILE --name {entry.name}` for a file that you have",
        ]
    raise CheckpointError(
        f"checkpoint {entry.name!r} is not on this machine",
        expected=str(_store.destination(entry)),
        got="no such file",
        fix=f"nothing is downloaded unasked: read its licence ({licence}), {', '.join(ways)}",
    )


def user_registry() -> Path:
    """The user's own catalogue: ``$COVARY_REGISTRY``, else in the platform's config folder."""
    given = os.environ.get("COVARY_REGISTRY")
    return Path(given) if given else Path(platformdirs.user_config_dir("covary")) / "registry.toml"


def _unclaimed(points: Iterable[EntryPoint], found: list[Problem]) -> list[EntryPoint]:
    """Those whose namespace is fit for ids and claimed by one distribution, built-ins first."""
    claims: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for point in points:
        # The same distribution can be seen twice, e.g. an editable install beside its source.
        claims[point.name][_origin(point).distribution] = point
    good = []
    for namespace, claimants in claims.items():
        names = sorted(claimants)
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", namespace):
            what = (
                f"the namespace {namespace!r} is not in lower-case letters, digits, '.', '_', '-'"
            )
            found.append(Problem(namespace, ", ".join(names), what, "rename its entry point"))
            continue
        if namespace in RESERVED:
            for other in [name for name in names if name != namespace]:
                what = f"claims the namespace {namespace!r}, which is reserved"
                found.append(
                    Problem(namespace, other, what, f"uninstall {other}, or rename its entry point")
                )
            names = [name for name in names if name == namespace == BUILTIN]
        if len(names) == 1:
            good.append(claimants[names[0]])
        elif names:
            what = (
                f"{' and '.join(names)} both claim the namespace {namespace!r}; neither is loaded"
            )
            found.append(Problem(namespace, ", ".join(names), what, "uninstall one of them"))
    return sorted(good, key=lambda point: (point.name != BUILTIN, point.name))


def _misspelt(points: EntryPoints) -> Iterator[Problem]:
    """Entry points of a group that is nearly covary's, so that nobody reads them."""
    for point, meant in _metadata.misspelt_groups(points):
        if is_allowed(point.name):
            origin = _origin(point)
            what = f"its entry point is in the group {point.group!r}, which covary does not read"
            fix = f"did you mean {meant!r}? {_explain.INSTALL_AGAIN}"
            yield Problem(origin.namespace, origin.distribution, what, fix)


def is_allowed(namespace: str) -> bool:
    """Whether COVARY_PLUGINS and COVARY_DISABLE leave the plugin of that namespace."""
    only = os.environ.get("COVARY_PLUGINS")
    allowed = only is None or namespace in (*_split(only), BUILTIN)
    return allowed and namespace not in _split(os.environ.get("COVARY_DISABLE", ""))


def _ask(point: EntryPoint, found: list[Problem]) -> list[CatalogueEntry]:
    """What one plugin offers; anything wrong with it becomes a problem, and nothing is kept."""
    origin = _origin(point)
    try:
        entries = _offer(point)
    except (Exception, SystemExit) as error:
        if raising():
            raise
        what = str(error.what) if isinstance(error, PluginError) else describe(error)
        fix = (isinstance(error, PluginError) and error.fix) or (
            f"report it to the authors of {origin.distribution}, or uninstall it"
        )
        found.append(Problem(origin.namespace, origin.distribution, f"{point.value}: {what}", fix))
        return []
    for entry in entries:
        if isinstance(entry, Component) and (reason := Registered(entry, origin).incompatible()):
            fix = f"upgrade covary or {origin.distribution} so that they meet"
            found.append(Problem(origin.namespace, origin.distribution, reason, fix))
    return entries


def _offer(point: EntryPoint) -> list[CatalogueEntry]:
    """Load one plugin and call its hook.

    Raises:
        PluginError: it has no hook, or the hook gave something else than catalogue entries.
        Exception, SystemExit: whatever the plugin itself raises.
    """
    hook = _hook(point)
    try:
        answers = hook()
    except ValidationError as error:
        raise _explain.invalid_entry(error) from error
    if not answers:  # pluggy leaves out an answer of None
        raise _explain.wrong_answer("None")
    if not isinstance(answers[0], Iterable):
        raise _explain.wrong_answer(type(answers[0]).__name__)
    try:
        entries = list(answers[0])
        for entry in entries:
            if not isinstance(entry, CatalogueEntry):
                raise _explain.wrong_answer(
                    f"{type(answers[0]).__name__} of {type(entry).__name__}"
                )
            type(entry).model_validate(entry.model_dump(warnings=False))
    except ValidationError as error:
        raise _explain.invalid_entry(error) from error
    keys = [_key(entry) for entry in entries]
    for kind, name in keys:
        if keys.count((kind, name)) > 1:
            raise PluginError(f"it offers the {kind} {name!r} twice")
    return entries


def _hook(point: EntryPoint) -> pluggy.HookCaller:
    """The hook of one plugin, loaded and checked.

    Raises:
        PluginError: it has none, or one that covary does not know or call so.
    """
    plugin = _explain.load_entry_point(point)
    manager = pluggy.PluginManager("covary")
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin, name=point.name)
    except pluggy.PluginValidationError as error:
        raise PluginError(describe(error), fix="a hook takes no arguments: remove them") from error
    for caller in manager.get_hookcallers(plugin) or ():
        if not caller.has_spec():
            raise _explain.unknown_hook(caller.name)
    if not manager.hook.covary_components.get_hookimpls():
        raise _explain.missing_hook(plugin)
    return manager.hook.covary_components


def _key(entry: CatalogueEntry) -> tuple[str, str]:
    """What must be unique among a plugin's entries."""
    if isinstance(entry, KnownPlugin):
        return "known plugin", entry.distribution
    kind = entry.kind if isinstance(entry, Component) else type(entry).__name__.lower()
    return kind, entry.name


def _from_user(found: list[Problem]) -> list[tuple[Origin, CatalogueEntry]]:
    """Checkpoints and presets of the user's own file; components there are refused."""
    path = user_registry()
    origin = Origin("user", str(path))
    if not os.path.exists(path):  # Path.exists would raise where a folder above is locked
        if os.environ.get("COVARY_REGISTRY"):
            found.append(Problem("user", str(path), "no such file", "correct COVARY_REGISTRY"))
        return []
    try:
        catalogue = read_catalogue(path)
    except InputError as error:
        found.append(Problem("user", str(path), str(error), "correct the file"))
        return []
    if catalogue.component:
        what = "a user's catalogue may not add components; they were left out"
        found.append(Problem("user", str(path), what, "register them through a plugin"))
    entries: list[CatalogueEntry] = [*catalogue.checkpoint, *catalogue.preset]
    return [(origin, entry) for entry in entries]


def _shelve(offered: list[tuple[Origin, CatalogueEntry]], kind: type) -> tuple[Shelved, ...]:
    """Entries of a kind by name; of equal names the user's wins, then a plugin's."""
    rank = {"user": 0, BUILTIN: 2}
    mine = [(origin, entry) for origin, entry in offered if isinstance(entry, kind)]
    mine.sort(key=lambda pair: rank.get(pair[0].namespace, 1))
    seen: set[str] = set()
    shelf = []
    for origin, entry in mine:
        shelf.append(Shelved(entry, origin, shadowed=entry.name in seen))  # type: ignore[arg-type,union-attr]
        seen.add(entry.name)  # type: ignore[union-attr]
    return tuple(shelf)


def _from_shelf(shelf: tuple[Shelved, ...], name: str, what: str) -> Checkpoint | Preset:
    for shelved in shelf:
        if shelved.entry.name == name and not shelved.shadowed:
            return shelved.entry
    known = [shelved.entry.name for shelved in shelf]
    raise UnknownNameError(f"there is no {what} {name!r}", fix=did_you_mean(name, known))


def _with_preference(found: list[Registered]) -> tuple[Registered, ...]:
    """Mark which components their short names mean: the built-in, else the only one."""
    sharing: dict[tuple[str, str], list[Registered]] = defaultdict(list)
    for entry in found:
        sharing[entry.kind, entry.name].append(entry)

    def preferred(entry: Registered) -> bool:
        group = sharing[entry.kind, entry.name]
        return len(group) == 1 or entry.origin.namespace == BUILTIN

    return tuple(Registered(e.component, e.origin, preferred(e)) for e in found)


def _interface(kind: str) -> type[Configurable]:
    from . import interfaces

    return {
        "source": interfaces.VariantSource,
        "features": interfaces.FeatureSpace,
        "clusterer": interfaces.Clusterer,
        "foreground": interfaces.ForegroundRule,
        "detector": interfaces.Detector,
        "landmarks": interfaces.LandmarkDetector,
        "refiner": interfaces.Refiner,
        "segmenter": interfaces.Segmenter,
        "writer": interfaces.Writer,
    }[kind]


def _origin(point: EntryPoint) -> Origin:
    # What an interrupted uninstall leaves may lack its metadata: None, or from some Python
    # version on an error, where the type says str.
    try:
        found = point.dist and (point.dist.name, point.dist.version)
    except Exception:
        found = None
    name, version = found or (None, None)
    return Origin(point.name, name or "unknown distribution", version or "")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def describe(error: BaseException) -> str:
    """An exception of somebody else's on one line: its class and its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def raising() -> bool:
    """Whether COVARY_RAISE asks for tracebacks instead of messages."""
    return os.environ.get("COVARY_RAISE", "") not in ("", "0")


@contextmanager
def _trace(what: str) -> Iterator[None]:
    """Say on stderr how long ``what`` took, where COVARY_TRACE is set."""
    start = time.perf_counter()
    yield
    if os.environ.get("COVARY_TRACE", "") not in ("", "0"):
        milliseconds = 1000 * (time.perf_counter() - start)
        print(f"covary: {what} in {milliseconds:.1f} ms", file=sys.stderr)
