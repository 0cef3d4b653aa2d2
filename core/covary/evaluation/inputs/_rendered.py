"""Exact masks of rendered scenes, by seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...errors import InputError
from ...samples import BACKGROUND, Task
from ..classes import MASK
from ..pairs import LabelMap
from ._options import InputOptions

__all__ = ["Rendered"]

_PREFIX = "worlds:"


class Rendered:
    """The renderer's own masks of the scenes whose seeds the images are named after.

    Of avatars the classes are hair, skin, clothes, eyes and mouth, of rooms the objects, unless
    another task is asked for. They are drawn at the size of whatever is compared with them.

    Args:
        world: ``"avatars"`` or ``"rooms"``.
        options: the task.

    Raises:
        UnknownNameError: no such world.
    """

    def __init__(self, world: str, options: InputOptions) -> None:
        from ...testing import worlds

        self._world = worlds.get(world)
        self._task = options.task
        self._groups = self._grouped(options.task)
        self.classes = (BACKGROUND, *self._groups)

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether it is ``worlds:NAME``."""
        return text.startswith(_PREFIX)

    @classmethod
    def open(cls, text: str, options: InputOptions) -> Rendered:
        """The exact masks of a world."""
        return cls(text.removeprefix(_PREFIX), options)

    @property
    def world(self) -> str:
        """Its name."""
        return self._world.name

    def judge(self, given: LabelMap) -> LabelMap:
        """The exact mask of the scene of that seed, at the size of what is given.

        Raises:
            InputError: the name is no seed, or no scene is drawn at that size.
        """
        if not (given.name.isascii() and given.name.isdigit()):
            raise InputError(
                f"image {given.name!r}",
                expected="the seed of a rendered scene as its name",
                got=repr(given.name),
            )
        size = int(given.labels.shape[0]), int(given.labels.shape[1])
        scene = self._world.scene(int(given.name), size)
        table = torch.zeros(len(self._world.parts), dtype=torch.uint8)
        for value, members in enumerate(self._groups.values(), start=1):
            for part in members:
                table[self._world.parts.index(part)] = value
        return LabelMap(given.name, table[scene.truth.labels[0]])

    def describe(self) -> dict[str, Any]:
        """Kind, world, task and classes."""
        return {
            "kind": "rendered",
            "world": self.world,
            "task": self._task,
            "classes": list(self.classes),
        }

    def _grouped(self, task: Task | None) -> Mapping[str, frozenset[str]]:
        """The parts of the world that make each class."""
        world = self._world
        if task == "foreground":
            return {MASK[1]: world.foreground}
        if task == "instances":
            return world.objects
        return world.classes
