"""The data card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..interfaces import Writer
from ._job import Job

if TYPE_CHECKING:
    from ._finish import Counts

__all__ = ["card"]


def card(job: Job, counts: Counts, writer: Writer, *, with_preview: bool) -> str:
    """The data set's README."""
    return f"# {job.name}\n"
