"""Procedural worlds: scenes with separate structure and appearance latents and exact masks.

::

    world = worlds.get("avatars")
    scene = world.scene(seed=7, size=(64, 64))
    variants = scene.images(seed=0, n=50)       # uint8 (50, 3, 64, 64), one structure
    mask = scene.truth.foreground[0]            # bool (64, 64)

Positions, sizes and rotations come from the structure latent alone, colours and the light from
the appearance latent alone, so variants of one structure are perfectly aligned and the masks are
known exactly. Drawing is analytic and anti-aliased: a scene is the same at any size.
"""

from __future__ import annotations

from covary.errors import unknown_name
from covary.testing.worlds._scene import Canvas, Field, Layer, Layout, Scene, Truth, World
from covary.testing.worlds.avatars import Avatars
from covary.testing.worlds.rooms import Rooms

__all__ = [
    "WORLDS",
    "Canvas",
    "Field",
    "Layer",
    "Layout",
    "Scene",
    "Truth",
    "World",
    "get",
]

_CLASSES: dict[str, type[World]] = {"avatars": Avatars, "rooms": Rooms}

WORLDS: tuple[str, ...] = tuple(_CLASSES)
"""Names that :func:`get` knows."""


def get(name: str) -> World:
    """The world of that name.

    Raises:
        UnknownNameError: there is none; the message suggests the closest.
    """
    if name not in _CLASSES:
        raise unknown_name("the world", name, WORLDS)
    return _CLASSES[name]()
