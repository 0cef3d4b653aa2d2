"""A disk that takes no more, without one: the system refuses to let files grow."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["files_end_at"]


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``size`` bytes in the block.

    Python ignores the signal that comes with it, so that writing fails with an OSError.
    """
    try:
        import resource
    except ImportError:
        raise unittest.SkipTest("this system cannot limit the size of files") from None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
