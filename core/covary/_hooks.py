"""The one hook of the plugin system, and its version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .catalogue import Checkpoint, Component, Preset

__all__ = ["API_VERSION", "COMMANDS", "GROUP", "Hooks", "hookimpl"]

API_VERSION = "1.2"
"""Version of the plugin API: components of the same major and of no newer minor are accepted."""

GROUP = "covary"
"""The entry-point group; an entry point's name is its plugin's namespace."""

COMMANDS = "covary.commands"
"""The entry-point group of further commands; an entry point's name is the command's."""

hookspec = pluggy.HookspecMarker("covary")
hookimpl = pluggy.HookimplMarker("covary")
"""Decorator that marks a plugin's implementation of a hook."""


class Hooks:
    """What a plugin may implement."""

    @hookspec
    def covary_components(self) -> Iterable[Component | Checkpoint | Preset]:  # type: ignore[empty-body]
        """What the plugin offers: components and, if it likes, checkpoints and presets.

        All of it is data, so it can be listed, validated and attributed without importing the
        components themselves. ``covary.read_catalogue(path)`` reads the same from a TOML file.
        """
