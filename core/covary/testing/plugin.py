"""A pytest plugin for tests of covary's plugins; opt in with ``pytest_plugins``.

In the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["covary.testing.plugin"]

It adds the option ``--covary-device`` and the fixtures ``isolated_registry`` and
``isolated_settings``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from covary import _registry
from covary._hooks import GROUP

__all__ = [
    "IsolatedRegistry",
    "isolated_registry",
    "isolated_settings",
    "pytest_addoption",
    "pytest_configure",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--covary-device``."""
    parser.getgroup("covary").addoption(
        "--covary-device",
        default="cpu",
        metavar="DEVICE",
        help="torch device on which contracts run their component (default: cpu)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the device of all contracts.

    Raises:
        InputError: no such device on this machine.
    """
    device = config.getoption("--covary-device")
    if device != "cpu":
        from covary.context import resolve_device
        from covary.testing.contracts import Contract

        Contract.device = str(resolve_device(device))


class IsolatedRegistry:
    """A registry of the built-ins and of what a test registers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._points: list[EntryPoint] = []

    def register(self, namespace: str, plugin: Any) -> None:
        """Register a plugin as an installed distribution would.

        Args:
            namespace: the name of its entry point.
            plugin: the module, or any object, that has its ``covary_components``.
        """
        module = getattr(plugin, "__name__", f"isolated_plugin_{namespace}")
        self._monkeypatch.setitem(sys.modules, module, plugin)
        point = EntryPoint(namespace, module, GROUP)
        vars(point)["dist"] = SimpleNamespace(name=f"{namespace} of this test", version="0")
        self._points.append(point)
        _registry.registry.cache_clear()

    def points(self, **chosen: Any) -> EntryPoints:
        """The entry points that covary sees, as ``importlib.metadata.entry_points`` gives them."""
        own = [p for p in entry_points(group=GROUP) if p.name == _registry.BUILTIN]
        return EntryPoints([*own, *self._points]).select(**chosen)


@pytest.fixture
def isolated_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """covary without the user's settings: no variables, an empty configuration, an own cache.

    What was discovered is forgotten before the test and after it.
    """
    for name in [name for name in os.environ if name.startswith("COVARY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *_: str(tmp_path / "no-config"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(tmp_path / "cache"))
    _registry.registry.cache_clear()
    yield
    _registry.registry.cache_clear()


@pytest.fixture
def isolated_registry(monkeypatch: pytest.MonkeyPatch, isolated_settings: None) -> IsolatedRegistry:
    """A registry without installed plugins and the user's settings; see its ``register``."""
    isolated = IsolatedRegistry(monkeypatch)
    monkeypatch.setattr(_registry, "entry_points", isolated.points)
    return isolated
