"""Every exception that covary raises on purpose.

::

    CovaryError
    ├── InputError (ValueError)              data or a value that does not fit
    │   └── ParamsError                      a component's parameters do not validate
    ├── UnknownNameError (LookupError)       no component, preset or checkpoint of that name
    │   └── AmbiguousNameError               several components share the short name
    ├── PluginError (RuntimeError)           a plugin that cannot be used as it is
    │   └── IncompatibleApiError             written for another version of the plugin API
    ├── MissingPackageError (ImportError)    a component's packages are not installed
    ├── CheckpointError (ValueError)         a file that is not the checkpoint it should be
    ├── MemoryBudgetError (MemoryError)      a stage that will not fit, known before it runs
    └── OutputError (OSError)                a result that cannot be written

Each also derives from the builtin that a caller would catch without knowing covary.

``CovaryDeprecationWarning`` (DeprecationWarning) is no error: what it names still works.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "AmbiguousNameError",
    "CheckpointError",
    "CovaryDeprecationWarning",
    "CovaryError",
    "IncompatibleApiError",
    "InputError",
    "MemoryBudgetError",
    "MissingPackageError",
    "OutputError",
    "ParamsError",
    "PluginError",
    "UnknownNameError",
    "did_you_mean",
    "unknown_name",
]


class CovaryError(Exception):
    """Base of covary's errors, worded as *what: expected ..., got ...; what to do*.

    Args:
        what: the thing that is wrong, e.g. ``"box 2"``, or a whole sentence.
        expected: what would have been right.
        got: what was found instead.
        fix: what to do about it, as an imperative.
    """

    def __init__(self, what: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        self.what, self.expected, self.got, self.fix = what, expected, got, fix
        super().__init__(what)

    def __str__(self) -> str:
        parts = [f"expected {self.expected}"] if self.expected else []
        parts += [f"got {self.got}"] if self.got else []
        text = f"{self.what}: {', '.join(parts)}" if parts else self.what
        return f"{text}; {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive the default pickling of exceptions,
        # and errors do cross process borders (benchmarks, data generation).
        return _rebuild, (type(self), self.what, self.expected, self.got, self.fix)


class InputError(CovaryError, ValueError):
    """Data or a value that does not fit: shape, dtype, range, a box outside the image."""


class ParamsError(InputError):
    """A component's parameters do not validate."""


class UnknownNameError(CovaryError, LookupError):
    """No component, preset or checkpoint has that name."""


class AmbiguousNameError(UnknownNameError):
    """Several components share the short name; the message lists their full ids."""


class PluginError(CovaryError, RuntimeError):
    """A plugin or one of its components cannot be used as it is."""


class IncompatibleApiError(PluginError):
    """The component was written for another version of the plugin API."""


class MissingPackageError(CovaryError, ImportError):
    """A component needs packages that are not installed; the message says which command does it."""


class CheckpointError(CovaryError, ValueError):
    """A file is not the checkpoint it should be, or a checkpoint is not on this machine."""


class MemoryBudgetError(CovaryError, MemoryError):
    """A stage needs more memory than there is; raised before the stage runs."""


class OutputError(CovaryError, OSError):
    """A result cannot be written: a full disk, a read-only or missing folder."""


class CovaryDeprecationWarning(DeprecationWarning):
    """Something of covary's works as before and will go: the message says when, and what to use."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest of ``known``, or listing them: for the ``fix`` of an error."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose from: {', '.join(names)}" if names else "there are none to choose from"


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among ``known``: lists them and suggests the closest."""
    names = tuple(known)
    return UnknownNameError(
        what,
        expected=f"one of {', '.join(names)}",
        got=repr(name),
        fix=did_you_mean(name, names),
    )


def _rebuild(cls: type[CovaryError], what: str, expected: str, got: str, fix: str) -> CovaryError:
    return cls(what, expected=expected, got=got, fix=fix)
