"""The cases: each a setting or more that fail, beside one that works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import scenes
from .outcome import Outcome, Rule, from_photo, from_stack
from .scenes import Stack

__all__ = ["CASES", "SIDE", "Case", "Setting"]

SIDE = 64
"""Height and width of the images that are measured; pictures draw scenes larger."""

_ALL: Rule = ("corner", {"corners": "all"})
_SALIENCY: Rule = ("saliency", {})


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run the method on a seed."""

    what: str
    """In a few words, for tables and captions."""
    works: bool
    run: Callable[[int, int], Outcome]
    """Called as ``run(seed, side)``; generated images have a size of their own."""


@dataclass(frozen=True, slots=True)
class Case:
    """A limit of the method: the same seeds in settings that fail and in one that works."""

    name: str
    settings: tuple[Setting, ...]
    seed: int = 1003
    """The seed that is drawn."""


def _fails(what: str, stack: Callable[[int, int], Stack], **how: Any) -> Setting:
    return Setting(what, False, _run(stack, how))


def _works(what: str, stack: Callable[[int, int], Stack], **how: Any) -> Setting:
    return Setting(what, True, _run(stack, how))


def _run(stack: Callable[[int, int], Stack], how: dict[str, Any]) -> Callable[[int, int], Outcome]:
    return lambda seed, side: from_stack(stack(seed, side), seed, **how)


def _plain(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side)


def _two_walls(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side, scenes.TwoWalls)


def _bright(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side, scenes.BrightLight)


def _linked(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side, scenes.ClothesInTheWallsColours, linked=True)


def _independent(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side, scenes.ClothesInTheWallsColours)


def _fixed_alike(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side, scenes.FixedAlike)


def _fixed_unlike(seed: int, side: int) -> Stack:
    return scenes.rendered(seed, side, scenes.FixedUnlike)


def _textured(strength: float) -> Callable[[int, int], Stack]:
    return lambda seed, side: scenes.textured(scenes.rendered(seed, side), seed, strength)


def _wandering(share: float) -> Callable[[int, int], Stack]:
    return lambda seed, side: scenes.wandering(scenes.rendered(seed, side), seed, by=share)


def _mixed(c: int = 4, n: int = scenes.VARIANTS) -> Callable[[int, int], Stack]:
    return lambda seed, side: scenes.generated(seed, c=c, n=n)


def _eyes(seed: int, side: int) -> Stack:
    return scenes.part(seed, side, ("irises", "pupils"))


def _hair(seed: int, side: int) -> Stack:
    return scenes.part(seed, side, ("hair",))


def _bright_hair(seed: int, side: int) -> Stack:
    return scenes.part(seed, side, ("hair",), scenes.BrightLight)


def _sofa(seed: int, side: int) -> Stack:
    return scenes.room(seed, side, "sofa")


CASES = (
    Case(
        "two-walls",
        (
            _fails("two-coloured wall, k = 2", _two_walls, k=2),
            _works("the same, k = 5", _two_walls, k=5),
        ),
    ),
    Case(
        "many-clusters",
        (_fails("k = 8", _plain, k=8), _works("k = 4", _plain, k=4)),
        seed=1005,
    ),
    Case(
        "low-cutoff",
        (_fails("c = 0", _mixed(c=0)), _works("c = 4", _mixed())),
        seed=1013,
    ),
    Case(
        "high-cutoff",
        (_fails("c = 10 of 10", _mixed(c=10)), _works("c = 4", _mixed())),
        seed=1008,
    ),
    Case(
        "few-variants",
        (
            _fails("n = 1", _mixed(n=1)),
            _works("n = 8", _mixed(n=8)),
            _works("n = 50", _mixed()),
        ),
        seed=1005,
    ),
    Case(
        "misaligned",
        (
            _fails("wandering by 1/16 of the side", _wandering(1 / 16)),
            _fails("by 1/32", _wandering(1 / 32)),
            _works("by 1/64", _wandering(1 / 64)),
            _works("aligned", _plain),
        ),
    ),
    Case(
        "colour-space",
        (
            _fails("RGB, k = 2", _plain, space="rgb", k=2),
            _works("RGB, k = 4", _plain, space="rgb"),
            _works("LAB, k = 2", _plain, k=2),
        ),
        seed=1018,
    ),
    Case(
        "highlights",
        (
            _fails("hair, strong light, RGB", _bright_hair, rule=None, space="rgb"),
            _works("hair, weak light, RGB", _hair, rule=None, space="rgb"),
            _works("the person, strong light, RGB", _bright, space="rgb"),
            _works("hair, strong light, LAB", _bright_hair, rule=None),
        ),
    ),
    Case(
        "changing-together",
        (
            _fails("clothes always in the wall's colour", _linked),
            _works("clothes of their own", _independent),
        ),
    ),
    Case(
        "never-changing",
        (
            _fails("both fixed, nearly alike", _fixed_alike),
            _fails("both fixed and unlike, spherical", _fixed_unlike, clusterer="spherical"),
            _works("both fixed and unlike, lloyd", _fixed_unlike),
        ),
    ),
    Case(
        "texture",
        (
            _fails("strong grain, lloyd", _textured(0.6)),
            _works("weak grain, lloyd", _textured(0.3)),
            _works("strong grain, spherical", _textured(0.6), clusterer="spherical"),
        ),
    ),
    Case(
        "fine-parts",
        (
            _fails("irises, whole image, k = 4", _eyes, rule=None),
            _works("irises, in a box, k = 5", _eyes, rule=None, boxed=True, k=5),
        ),
    ),
    Case(
        "corners",
        (
            _fails("corners = all", _plain, rule=_ALL),
            _works("corners = upper", _plain),
        ),
    ),
    Case(
        "off-centre",
        (
            _fails("off centre, saliency", scenes.to_the_right, rule=_SALIENCY),
            _works("off centre, corner", scenes.to_the_right),
        ),
    ),
    Case(
        "rooms",
        (
            _fails("the sofa, whole image", _sofa, rule=_ALL),
            _works("the sofa, in its box", _sofa, rule=_ALL, boxed=True),
        ),
    ),
    Case(
        "photo",
        (
            Setting("off the middle by 1/4", works=False, run=partial(from_photo, aside=0.25)),
            Setting("cut as in training", works=True, run=from_photo),
        ),
    ),
)
"""In the order of the page ``docs/explanation/limits.md``."""
