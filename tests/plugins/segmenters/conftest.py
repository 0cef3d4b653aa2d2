"""Tiny random segmenters, made once, and no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_segmenters import save


@pytest.fixture(autouse=True)
def _no_network(no_network: None) -> None:
    """No test here may ask for it."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small model by its ``model_type``, made once."""
    parent = tmp_path_factory.mktemp("segmenters")

    def folder(kind: str) -> Path:
        path = parent / kind
        if not path.exists():
            save(kind, path)
        return path

    return folder
