"""Tools for testing covary and its plugins; each submodule loads on first use.

- ``covary.testing.worlds``: procedural scenes with known masks (needs torch).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covary.testing import worlds

__all__ = ["worlds"]


def __getattr__(name: str) -> Any:
    # Submodules need torch; whoever only imports this package should not pay for it.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
