"""Photos made ready for a generator: aligned, resampled, and compared with their reconstruction.

Importing this loads no torch, so that sources can take their parameters from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .params import PhotoParams, PhotoSource

if TYPE_CHECKING:
    from ._ffhq import ffhq_matrix
    from ._prepare import PreparedPhoto, digest, one_photo, prepare
    from ._quality import ACCEPTABLE_MSE, error_warning, reconstruction_error
    from ._resample import resample

_HOME = {
    "ACCEPTABLE_MSE": "_quality",
    "PreparedPhoto": "_prepare",
    "digest": "_prepare",
    "error_warning": "_quality",
    "ffhq_matrix": "_ffhq",
    "one_photo": "_prepare",
    "prepare": "_prepare",
    "reconstruction_error": "_quality",
    "resample": "_resample",
}

__all__ = [
    "ACCEPTABLE_MSE",
    "PhotoParams",
    "PhotoSource",
    "PreparedPhoto",
    "digest",
    "error_warning",
    "ffhq_matrix",
    "one_photo",
    "prepare",
    "reconstruction_error",
    "resample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
