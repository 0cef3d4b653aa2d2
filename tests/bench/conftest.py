"""Strange clusterers on the path of the tests and of the processes that they start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import strange_clusterers
from covary._registry import registry


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin ``odd`` is installed, and nothing is kept in the user's folders."""
    site = strange_clusterers.install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AWAKE", str(tmp_path / "awake"))
    registry.cache_clear()
    yield
    registry.cache_clear()
