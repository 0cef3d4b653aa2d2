"""Values computed from parameters and remembered until a parameter changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

__all__ = ["Derived"]

_T = TypeVar("_T")


class Derived:
    """What was made of some parameters: cast weights, sums over them, packed matrices.

    An entry is made again once one of its sources was replaced, moved or changed in place (all but
    writing through ``.data``, which torch does not count). Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[list[Tensor], list[int], Any]] = {}

    def get(self, key: Hashable, sources: Sequence[Tensor], make: Callable[[], _T]) -> _T:
        """``make()``, remembered unless gradients are wanted for one of ``sources``."""
        recording = torch.is_grad_enabled() and any(source.requires_grad for source in sources)
        if recording or any(source.is_inference() for source in sources):
            return make()
        found = self._entries.get(key)
        if found is None or not _unchanged(sources, found[0], found[1]):
            # A normal tensor even inside inference mode: others may need gradients through it.
            with torch.inference_mode(False), torch.no_grad():
                value = make()
            # Detached views keep the storage alive, so that its address means this very tensor.
            kept = [source.detach() for source in sources]
            found = self._entries[key] = (kept, [source._version for source in sources], value)
        return cast(_T, found[2])

    def clear(self) -> None:
        """Forget everything, e.g. because the parameters are about to move."""
        self._entries.clear()

    def __reduce__(self) -> tuple[type[Derived], tuple[()]]:
        return Derived, ()


def _unchanged(sources: Sequence[Tensor], kept: list[Tensor], versions: list[int]) -> bool:
    return all(
        source._version == version
        and source.device == old.device
        and source.data_ptr() == old.data_ptr()
        for source, old, version in zip(sources, kept, versions, strict=True)
    )
