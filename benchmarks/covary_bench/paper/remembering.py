"""A source that draws the variants of an image once for several pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import covary

__all__ = ["Remembering"]


class Remembering(covary.VariantSource):
    """Another source, whose last variants are kept in memory; recipes name that one.

    Args:
        source: what draws them.
    """

    def __init__(self, source: covary.VariantSource) -> None:
        self._source = source
        self._key: Any = None
        # Under its own id a pipeline seeds it as it would without this.
        self.id, self.params = source.id, source.params
        self.accepts = source.accepts  # type: ignore[misc]  # of this one, not of all

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """The variants of the query, drawn unless they are those of the last call."""
        key = (query, ctx.seed, ctx.stage, ctx.device)
        if key != self._key:
            self._last = self._source.open(query, ctx)
            self._batches = tuple(self._last.batches)
            self._key = key
        return replace(self._last, batches=iter(self._batches))
