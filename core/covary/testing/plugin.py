"""A pytest plugin for tests of covary's plugins; opt in with ``pytest_plugins``.

In the ``conftest.py`` at the root of your tests::

    pytest_plugins = ["covary.testing.plugin"]

It adds the option ``--covary-device`` and the fixture ``isolated_registry``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from covary import _registry
from covary._hooks import GROUP

__all__ = ["IsolatedRegistry", "isolated_registry", "pytest_addoption", "pytest_configure"]


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

    def __init__(self) -> None:
        self._modules: dict[str, Any] = {}

    def register(self, namespace: str, plugin: Any) -> None:
        """Register a plugin as an installed distribution would.

        Args:
            namespace: the name of its entry point.
            plugin: the module, or any object, that has its ``covary_components``.
        """
        self._modules[namespace] = plugin
        _registry.registry.cache_clear()

    def points(self, group: str) -> list[EntryPoint]:
        """The entry points that covary sees."""
        found = [p for p in entry_points(group=group) if p.name == _registry.BUILTIN]
        if group == GROUP:
            found += [_Registered(name, group, module) for name, module in self._modules.items()]
        return found


class _Registered(EntryPoint):
    """An entry point that loads an object that is there already."""

    def __init__(self, name: str, group: str, plugin: Any) -> None:
        super().__init__(name, getattr(plugin, "__name__", type(plugin).__name__), group)
        vars(self)["plugin"] = plugin

    def load(self) -> Any:
        """The plugin itself."""
        return vars(self)["plugin"]


@pytest.fixture
def isolated_registry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[IsolatedRegistry]:
    """A registry without the installed plugins and the user's settings; see its ``register``.

    Environment variables of covary are unset, and its configuration and cache folders are empty
    ones of the test's own.
    """
    isolated = IsolatedRegistry()
    for name in [name for name in os.environ if name.startswith("COVARY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *_: str(tmp_path / "no-config"))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_: str(tmp_path / "cache"))
    monkeypatch.setattr(_registry, "entry_points", isolated.points)
    _registry.registry.cache_clear()
    yield isolated
    _registry.registry.cache_clear()
