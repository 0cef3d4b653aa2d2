"""Writes the package of a new plugin from ``covary/templates``.

A template is a file as it will be, with ``@names@`` to be filled in, in its path as well. Its
suffix ``.in`` keeps tools from taking it for a module, a test or a workflow of covary's own.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from keyword import iskeyword
from pathlib import Path

from . import __version__
from ._hooks import API_VERSION
from ._registry import RESERVED
from .catalogue import KINDS
from .errors import InputError, did_you_mean
from .files import output_folder, unwritable

__all__ = ["Skeleton", "skeleton", "write"]

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = r"[a-z](-?[a-z0-9])*"
# Longer ones would break lines that the templates leave whole.
_LONGEST = 30
_SUMMARIES = {
    "source": "discs on a plane, whose colours vary",
    "features": "opponent colours with a weight for brightness",
    "clusterer": "plain k-means in float64",
    "foreground": "what fills the centre rather than the border",
    "detector": "one box around what differs from the border",
    "landmarks": "five points on a head before a plain background",
    "refiner": "a mean over neighbours of like colour",
    "segmenter": "warm and cold colours, all else background",
    "writer": "one .npz file a pair, with its arrays",
}
# Names that a template itself uses at the top of the component's module.
_TAKEN_CLASSES = frozenset(
    [
        "Any",
        "DataSet",
        "Field",
        "Generator",
        "Iterable",
        "Iterator",
        "Literal",
        "Path",
        "Sample",
        "Sequence",
        "Shard",
        "Tensor",
    ]
)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What the templates are filled in with."""

    kind: str
    distribution: str
    """Name on the package index: ``covary-sketch``."""
    namespace: str
    """First half of its components' ids: ``sketch``."""
    package: str
    """What is imported: ``covary_sketch``."""
    component: str
    """Short name of its component."""

    @property
    def id(self) -> str:
        """Canonical id of its component."""
        return f"{self.namespace}/{self.component}"

    @property
    def module(self) -> str:
        """The module of its component's class."""
        return self.component.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Its component's class."""
        return "".join(word.capitalize() for word in self.component.split("-"))

    def files(self) -> dict[str, str]:
        """Path in the package's folder -> text."""
        kind = _TEMPLATES / self.kind
        values = self._values()
        values["usage"] = _fill((kind / "usage.md.in").read_text(encoding="utf-8"), values)
        common = _TEMPLATES / "package"
        sources = {str(path.relative_to(common)): path for path in sorted(common.rglob("*.in"))} | {
            "src/@package@/@module@.py.in": kind / "component.py.in",
            "tests/test_@module@.py.in": kind / "test.py.in",
        }
        return {
            _fill(name.removesuffix(".in"), values): _fill(path.read_text(encoding="utf-8"), values)
            for name, path in sorted(sources.items())
        }

    def _values(self) -> dict[str, str]:
        summary = _SUMMARIES[self.kind]
        return asdict(self) | {
            "api": API_VERSION,
            "class": self.class_name,
            "id": self.id,
            "module": self.module,
            "summary": summary,
            "summary_sentence": f"{summary[0].upper()}{summary[1:]}.",
            "version": __version__,
        }


def skeleton(name: str, kind: str, component: str | None = None) -> Skeleton:
    """The names that follow from a distribution's name.

    Args:
        name: of the distribution: ``covary-sketch`` and ``sketch-covary`` get the namespace
            ``sketch``, any other name is its own namespace.
        kind: of its component.
        component: short name of its component, the namespace if not given.

    Raises:
        InputError: a name that is malformed, reserved, or means something else in Python.
    """
    if kind not in KINDS:
        raise InputError(f"kind {kind!r}", expected="a kind", fix=did_you_mean(kind, KINDS))
    _check_name("name", name)
    namespace = name.removeprefix("covary-").removesuffix("-covary")
    if namespace in RESERVED:
        raise InputError(
            f"name {name!r}",
            expected="a namespace of its own",
            got=f"{namespace!r}, which is reserved",
            fix="choose a name like covary-sketch, whose namespace is 'sketch'",
        )
    component = component or namespace
    _check_name("component", component)
    found = Skeleton(kind, name, namespace, name.replace("-", "_"), component)
    _check_python(found)
    return found


def write(plan: Skeleton, into: Path) -> Path:
    """The folder of the written package, whole or not there at all.

    Args:
        plan: what to write.
        into: the folder in which the package gets its own, named after the distribution.

    Raises:
        InputError: there is a file or folder of that name.
        OutputError: it cannot be written.
    """
    folder = output_folder(into) / plan.distribution
    if folder.exists() or folder.is_symlink():
        raise InputError(
            f"folder {folder}",
            expected="a new one",
            got="something that exists",
            fix="choose another name or another folder with -o, or remove it",
        )
    beside: Path | None = None
    try:
        beside = Path(tempfile.mkdtemp(dir=into, prefix=f".{plan.distribution}."))
        for name, text in plan.files().items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        # mkdtemp makes folders for one user alone.
        beside.chmod(path.parent.stat().st_mode)
        beside.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def _check_name(what: str, name: str) -> None:
    if re.fullmatch(_NAME, name) and len(name) <= _LONGEST:
        return
    better = re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LONGEST].strip("-0123456789")
    raise InputError(
        f"{what} {name!r}",
        expected=f"lower-case letters, digits and single hyphens, at most {_LONGEST}, "
        "a letter first",
        got=repr(name),
        fix=f"for example {better!r}" if re.fullmatch(_NAME, better) else "",
    )


def _check_python(plan: Skeleton) -> None:
    """Refuse names that Python, or a package that covary needs, has given a meaning."""
    for name in (plan.package, plan.module, plan.class_name):
        if iskeyword(name) or name in _TAKEN_CLASSES:
            raise InputError(
                f"name {name!r} in Python",
                expected="one that has no meaning yet",
                got="a keyword" if iskeyword(name) else "what the component's module imports",
                fix="choose another name, or another component with --component",
            )
    if plan.package in sys.stdlib_module_names or plan.package in _imported_names():
        raise InputError(
            f"package {plan.package!r}",
            expected="one that hides no other",
            got="a module of Python's or of another distribution",
            fix=f"choose another name, for example covary-{plan.distribution}",
        )


def _imported_names() -> set[str]:
    """Packages of covary and of what it needs."""
    from importlib.metadata import packages_distributions, requires

    needed = {
        re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in requires("covary") or ()
    }
    provided = packages_distributions().items()
    # An editable install does not say which packages are its own.
    own = {"covary", "covary_plugins", "covary_bench"}
    return own | {name for name, by in provided if needed & {each.lower() for each in by}}


def _fill(text: str, values: dict[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)
