"""What one failure of many says: whether the others would fail alike, and in which words."""

from __future__ import annotations

from ._registry import describe
from .errors import (
    CheckpointError,
    CovaryError,
    MissingPackageError,
    OutputError,
    ParamsError,
    PluginError,
    UnknownNameError,
)

__all__ = ["HOPELESS", "in_words"]

HOPELESS = (
    CheckpointError,
    MissingPackageError,
    OutputError,
    ParamsError,
    PluginError,
    UnknownNameError,
)
"""What is wrong for one query or image and for all others alike."""


def in_words(error: Exception) -> str:
    """What to say of an error; one that is not covary's own comes with how to see more of it."""
    if isinstance(error, CovaryError):
        return str(error)
    return f"{describe(error)}; COVARY_RAISE=1 shows the traceback"
