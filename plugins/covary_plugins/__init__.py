"""covary's built-in plugins, written as a third party would write them."""

from __future__ import annotations

from collections.abc import Iterable

from covary import hookimpl, read_catalogue
from covary.catalogue import CatalogueEntry


@hookimpl
def covary_components() -> Iterable[CatalogueEntry]:
    """Everything that covary's own ``registry.toml`` names."""
    return read_catalogue().entries()
