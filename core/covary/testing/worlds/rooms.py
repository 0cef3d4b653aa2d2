"""Rooms: a living room in perspective, with a window, a rug, a sofa, a table and a lamp.

The room is measured in metres: X to the right, Y up from the floor, Z into the depth, with the
origin on the floor in front of the sofa. The camera stands at a distance, turned around that
point; it never pitches, so that verticals stay vertical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import pi
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from covary.testing.worlds import _shapes as sdf
from covary.testing.worlds._colour import hsv, mix, soft
from covary.testing.worlds._scene import Canvas, Field, Layer, World

__all__ = ["APPEARANCE", "STRUCTURE", "Rooms"]

STRUCTURE = (
    Field("yaw", -0.24, 0.24, "turn of the camera around the room, radians"),
    Field("eye", 1.35, 1.75, "height of the camera"),
    Field("distance", 5.2, 6.0, "camera to the middle of the room"),
    Field("horizon", -0.24, -0.12, "height of the horizon on the image, scene units"),
    Field("room_width", 4.2, 5.0, "between the side walls"),
    Field("room_depth", 1.7, 2.1, "Z of the back wall"),
    Field("plank", 0.22, 0.4, "width of the floor boards"),
    Field("sofa_x", -0.25, 0.25, "middle of the sofa"),
    Field("sofa_z", 0.35, 0.55, "front of the sofa"),
    Field("sofa_width", 1.8, 2.3, "with its arms"),
    Field("sofa_depth", 0.82, 0.95, "with its back"),
    Field("seat_height", 0.4, 0.48, ""),
    Field("back_height", 0.82, 1.02, ""),
    Field("back_depth", 0.2, 0.28, "thickness of the back"),
    Field("arm_height", 0.56, 0.7, ""),
    Field("arm_width", 0.16, 0.3, ""),
    Field("seats", 1.5, 3.5, "seat cushions, rounded"),
    Field("pillow_size", 0.36, 0.46, "side of the pillows"),
    Field("pillow_place", 0.05, 0.3, "from the arms, of the seat's width"),
    Field("pillow_turn", -0.35, 0.35, "rotation of the pillows, radians"),
    Field("rug_x", -0.25, 0.25, "middle of the rug"),
    Field("rug_z", -0.45, -0.15, "middle of the rug"),
    Field("rug_width", 2.2, 2.8, ""),
    Field("rug_depth", 1.3, 1.8, ""),
    Field("rug_square", 2.0, 9.0, "exponent of the outline: 2 is an ellipse"),
    Field("rug_border", 0.8, 0.92, "inner outline, of the outer"),
    Field("table_x", -0.3, 0.3, "against the middle of the rug"),
    Field("table_z", -0.25, 0.05, "middle of the table"),
    Field("table_width", 0.85, 1.2, ""),
    Field("table_depth", 0.5, 0.7, ""),
    Field("table_height", 0.34, 0.46, ""),
    Field("table_square", 2.0, 8.0, "exponent of the outline: 2 is an ellipse"),
    Field("lamp_side", -1.0, 1.0, "left or right of the sofa, by its sign"),
    Field("lamp_x", 0.16, 0.3, "beyond the end of the sofa"),
    Field("lamp_height", 1.55, 1.9, ""),
    Field("lamp_shade", 0.2, 0.28, "lower radius of the lamp shade"),
    Field("lamp_taper", 0.5, 0.9, "upper over lower radius"),
    Field("lamp_drop", 0.28, 0.4, "height of the lamp shade"),
    Field("window_x", 0.1, 0.8, "middle of the window, away from the lamp"),
    Field("window_y", 1.72, 1.95, "middle of the window"),
    Field("window_width", 1.1, 1.7, ""),
    Field("window_height", 1.0, 1.35, ""),
    Field("curtain", 0.2, 0.36, "width of each curtain"),
    Field("hills", -0.3, 0.1, "height of the land outside, of half the window"),
    Field("hill_phase", 0.0, 2 * pi, "where the land rises"),
)

APPEARANCE = (
    Field("wall_hue", 0.0, 1.0, "turns"),
    Field("wall_saturation", 0.06, 0.4, ""),
    Field("wall_value", 0.6, 0.97, ""),
    Field("side_tone", 0.8, 0.94, "side walls against the back wall"),
    Field("skirting_tone", 0.35, 0.8, "skirting boards, from the wall towards white"),
    Field("floor_hue", 0.0, 0.14, "turns"),
    Field("floor_saturation", 0.2, 0.55, ""),
    Field("floor_value", 0.38, 0.86, ""),
    Field("rug_hue", 0.0, 1.0, "turns"),
    Field("rug_saturation", 0.15, 0.6, ""),
    Field("rug_value", 0.45, 0.95, ""),
    Field("border_hue", -0.15, 0.15, "turns from the rug's"),
    Field("border_tone", 0.2, 0.6, "towards white"),
    Field("sofa_hue", 0.0, 1.0, "turns"),
    Field("sofa_saturation", 0.2, 0.65, ""),
    Field("sofa_value", 0.35, 0.9, ""),
    Field("pillow_hue", 0.0, 1.0, "turns"),
    Field("pillow_saturation", 0.2, 0.65, ""),
    Field("pillow_value", 0.55, 0.98, ""),
    Field("table_hue", 0.0, 0.16, "turns"),
    Field("table_saturation", 0.1, 0.6, ""),
    Field("table_value", 0.3, 0.95, ""),
    Field("stand_hue", 0.0, 1.0, "turns"),
    Field("stand_value", 0.2, 0.7, ""),
    Field("shade_hue", 0.03, 0.17, "turns"),
    Field("shade_saturation", 0.1, 0.5, ""),
    Field("glow", 0.05, 0.5, "how much the lamp lights the wall"),
    Field("sky_hue", 0.48, 0.68, "turns"),
    Field("sky_saturation", 0.2, 0.6, ""),
    Field("sky_value", 0.7, 1.0, ""),
    Field("land_hue", 0.2, 0.45, "turns"),
    Field("land_value", 0.45, 0.8, ""),
    Field("frame_value", 0.8, 1.0, ""),
    Field("curtain_hue", 0.0, 1.0, "turns"),
    Field("curtain_saturation", 0.1, 0.5, ""),
    Field("curtain_value", 0.6, 0.98, ""),
    Field("light_angle", 1.25 * pi, 1.75 * pi, "radians; the light comes from above"),
    Field("light_strength", 0.08, 0.2, ""),
)

_INKS = {
    "wall": "wall",
    "wall glow": "wall",
    "side wall": "side wall",
    "skirting": "skirting",
    "floor": "floor",
    "floor shadow": "floor",
    "frame": "window",
    "sky": "window",
    "horizon": "window",
    "land": "window",
    "curtain": "window",
    "curtain shadow": "window",
    "rug": "rug",
    "rug border": "rug",
    "rug shadow": "rug",
    "back": "sofa back",
    "back shadow": "sofa back",
    "seat": "sofa seat",
    "seat shadow": "sofa seat",
    "arms": "sofa arms",
    "pillows": "pillows",
    "table top": "table top",
    "table legs": "table legs",
    "stand": "lamp stand",
    "shade": "lamp shade",
    "shade light": "lamp shade",
}
_PARTS = tuple(dict.fromkeys(_INKS.values()))
_OBJECTS = {
    "window": frozenset({"window"}),
    "rug": frozenset({"rug"}),
    "sofa": frozenset({"sofa back", "sofa seat", "sofa arms", "pillows"}),
    "coffee table": frozenset({"table top", "table legs"}),
    "lamp": frozenset({"lamp stand", "lamp shade"}),
}

# Where faces look, on screen. Sides lean away from the light, which is always above.
_UP = torch.tensor(0.0), torch.tensor(-0.7)
_FRONT = torch.tensor(0.0), torch.tensor(0.25)
_LEFT = torch.tensor(-0.5), torch.tensor(1.4)
_RIGHT = torch.tensor(0.5), torch.tensor(1.4)

# Z where the side walls are cut off: behind the view, still in front of the camera.
_NEAR = -3.0

Point = tuple[Tensor, Tensor]


class Rooms(World):
    """Living rooms; foreground is the furniture and the window, each object with its box."""

    name = "rooms"
    parts = _PARTS
    foreground = frozenset().union(*_OBJECTS.values())
    objects = MappingProxyType(_OBJECTS)
    classes = objects
    inks = MappingProxyType(_INKS)
    STRUCTURE = STRUCTURE
    APPEARANCE = APPEARANCE

    def _layers(self, fields: Mapping[str, Tensor], canvas: Canvas) -> Iterator[Layer]:
        view = _View(fields, canvas)
        yield from _walls(fields, view)
        yield from _floor(fields, view)
        yield from _window(fields, view)
        yield from _rug(fields, view)
        yield from _lamp(fields, view)
        yield from _sofa(fields, view)
        yield from _table(fields, view)

    def _palette(self, fields: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        f = {name: value[:, None] for name, value in fields.items()}
        white, warm = torch.ones(3), torch.tensor([1.0, 0.9, 0.68])

        def named(kind: str) -> Tensor:
            hue, saturation = fields[f"{kind}_hue"], fields[f"{kind}_saturation"]
            return soft(hue, saturation, fields[f"{kind}_value"])

        wall, floor, rug, sofa = named("wall"), named("floor"), named("rug"), named("sofa")
        side, sky, curtain = wall * f["side_tone"], named("sky"), named("curtain")
        table = named("table")
        border_hue = fields["rug_hue"] + fields["border_hue"]
        border = soft(border_hue, fields["rug_saturation"], fields["rug_value"])
        shade = hsv(fields["shade_hue"], fields["shade_saturation"], torch.tensor(0.96))
        land = soft(fields["land_hue"], torch.tensor(0.45), fields["land_value"])
        return {
            "wall": wall,
            "wall glow": mix(wall, warm, f["glow"]),
            "side wall": side,
            "skirting": mix(wall, white, f["skirting_tone"]),
            "floor": floor,
            "floor shadow": floor * 0.62,
            "frame": white * f["frame_value"],
            "sky": sky,
            "horizon": mix(sky, white, 0.65),
            "land": land,
            "curtain": curtain,
            "curtain shadow": curtain * 0.82,
            "rug": rug,
            "rug border": mix(border, white, f["border_tone"]),
            "rug shadow": rug * 0.66,
            "back": sofa * 0.95,
            "back shadow": sofa * 0.76,
            "seat": sofa,
            "seat shadow": sofa * 0.8,
            "arms": sofa * 0.98,
            "pillows": named("pillow"),
            "table top": table,
            "table legs": table * 0.7,
            "stand": soft(fields["stand_hue"], torch.tensor(0.2), fields["stand_value"]),
            "shade": shade,
            "shade light": mix(shade, white, 0.6),
        }

    def _light(self, fields: Mapping[str, Tensor]) -> Tensor:
        angle = fields["light_angle"]
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        return direction * fields["light_strength"][:, None]


class _Plane(NamedTuple):
    """X and Z of a horizontal plane at each pixel, and their derivatives on screen."""

    x: Tensor
    z: Tensor
    x_right: Tensor
    z_right: Tensor
    x_down: Tensor
    z_down: Tensor


class _View:
    """The camera: room coordinates to scene units, and coverage of what is seen through it."""

    focal = 3.0

    def __init__(self, f: Mapping[str, Tensor], canvas: Canvas) -> None:
        self.canvas, self.x, self.y = canvas, canvas.x, canvas.y
        self.cos, self.sin = f["yaw"].cos(), f["yaw"].sin()
        self.eye, self.distance, self.horizon = f["eye"], f["distance"], f["horizon"]
        self.stands_at = self.distance * self.sin
        """X of the camera."""

    def scale(self, x: Tensor, z: Tensor) -> Tensor:
        """Scene units per metre at a place."""
        return self.focal / (self.distance + self.cos * z - self.sin * x)

    def point(self, x: Tensor, y: Tensor, z: Tensor) -> Point:
        """Where a point of the room is seen."""
        scale = self.scale(x, z)
        return (self.cos * x + self.sin * z) * scale, self.horizon + (self.eye - y) * scale

    def plane(self, height: Tensor) -> _Plane:
        """The horizontal plane at a height below the eye's."""
        below = (self.y - self.horizon).clamp_min(0.02)
        depth = self.focal * (self.eye - height) / below
        side = self.x * depth / self.focal
        ahead = depth - self.distance
        right = depth / self.focal
        return _Plane(
            x=self.cos * side - self.sin * ahead,
            z=self.sin * side + self.cos * ahead,
            x_right=self.cos * right,
            z_right=self.sin * right,
            x_down=(self.sin * depth - self.cos * side) / below,
            z_down=-(self.cos * depth + self.sin * side) / below,
        )

    def beside(self, a: Point, b: Point) -> Tensor:
        """Signed distance to the line from a to b, negative on its right-hand side."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        return ((self.x - a[0]) * dy - (self.y - a[1]) * dx) * torch.rsqrt(dx**2 + dy**2 + 1e-12)

    def quad(self, corners: Sequence[Point]) -> Tensor:
        """Coverage of four corners given clockwise; nothing when seen from behind.

        The product of two bands is right for slivers thinner than a pixel too, and makes the
        coverages of faces that share an edge add up to 1.
        """
        sides = [self.canvas.cover(self.beside(corners[i], corners[(i + 1) % 4])) for i in range(4)]
        return (sides[0] + sides[2] - 1).clamp_min(0) * (sides[1] + sides[3] - 1).clamp_min(0)

    def polygon(self, corners: Sequence[Point]) -> Tensor:
        """Signed distance to a convex outline given clockwise."""
        distance = self.beside(corners[-1], corners[0])
        for a, b in pairwise(corners):
            distance = torch.maximum(distance, self.beside(a, b))
        return distance

    def stroke(self, a: Point, b: Point, half: Tensor) -> Tensor:
        """Coverage of a straight line of a half-width in scene units, with round ends."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        px, py = self.x - a[0], self.y - a[1]
        t = ((px * dx + py * dy) / (dx**2 + dy**2 + 1e-12)).clamp(0, 1)
        distance = torch.hypot(px - t * dx, py - t * dy)
        return self.canvas.cover(distance - half) - self.canvas.cover(distance + half)

    def wall(self, x0: Tensor, x1: Tensor, y0: Tensor, y1: Tensor, z: Tensor) -> Tensor:
        """Coverage of an upright rectangle that faces the camera."""
        corners = ((x0, y1), (x1, y1), (x1, y0), (x0, y0))
        return self.quad([self.point(x, y, z) for x, y in corners])

    def disc(
        self, centre: tuple[Tensor, Tensor, Tensor], half_x: Tensor, half_z: Tensor, square: Tensor
    ) -> Tensor:
        """Signed distance to a flat superellipse of an exponent, lying below the eye's height."""
        x, y, z = centre
        plane = self.plane(y)
        u, v = (plane.x - x) / half_x, (plane.z - z) / half_z
        level = _superellipse(u, v, square).clamp_min(1e-4)
        du = u.sign() * (u.abs() / level) ** (square - 1) / half_x
        dv = v.sign() * (v.abs() / level) ** (square - 1) / half_z
        across = du * plane.x_right + dv * plane.z_right
        along = du * plane.x_down + dv * plane.z_down
        distance = (level - 1) / torch.hypot(across, along).clamp_min(1e-6)
        # Towards the horizon the first-order distance shrinks to nothing; the far corners bound it.
        far = [self.point(x + side * half_x, y, z + half_z)[1] for side in (-1, 1)]
        return torch.maximum(distance, torch.minimum(*far) - self.y)

    def ring(self, x: Tensor, y: Tensor, z: Tensor, radius: Tensor) -> Tensor:
        """Signed distance to a small flat disc at any height."""
        cx, cy = self.point(x, y, z)
        scale = self.scale(x, z)
        squeeze = ((self.eye - y) * scale / self.focal).abs().clamp_min(0.02)
        half = radius * scale
        dx, dy = self.x - cx, self.y - cy
        # Beyond the ends of a very flat ellipse its first-order distance is far too small.
        return torch.maximum(sdf.ellipse(dx, dy, half, half * squeeze), dx.abs() - half)


def _superellipse(u: Tensor, v: Tensor, square: Tensor | float) -> Tensor:
    """1 on the outline of half-axes 1, growing in proportion to the distance from the centre."""
    return (u.abs() ** square + v.abs() ** square) ** (1 / square)


def _tiles(faces: Sequence[Layer]) -> Iterator[Layer]:
    """Faces that share edges, so layered that their coverages add up without seams."""
    left = torch.ones_like(faces[0].cover)
    tiles = []
    for face in faces:
        share = (face.cover / left.clamp_min(1e-4)).clamp(0, 1)
        tiles.append(face._replace(cover=share))
        left = (left - face.cover).clamp_min(0)
    yield from reversed(tiles)


def _cuboid(
    view: _View,
    ink: str,
    ends: tuple[tuple[Tensor, Tensor], ...],
    shown: Tensor | float = 1.0,
) -> Iterator[Layer]:
    """A block between two X, two Y and two Z: its front, its top and the sides that are seen."""
    (x0, x1), (y0, y1), (z0, z1) = ends
    faces = (
        (_FRONT, ((x0, y1, z0), (x1, y1, z0), (x1, y0, z0), (x0, y0, z0))),
        (_UP, ((x0, y1, z1), (x1, y1, z1), (x1, y1, z0), (x0, y1, z0))),
        (_LEFT, ((x0, y1, z1), (x0, y1, z0), (x0, y0, z0), (x0, y0, z1))),
        (_RIGHT, ((x1, y1, z0), (x1, y1, z1), (x1, y0, z1), (x1, y0, z0))),
    )
    layers = []
    for normal, corners in faces:
        cover = view.quad([view.point(*corner) for corner in corners]) * shown
        layers.append(Layer(ink, cover, normal))
    # Where three faces meet their coverages fall a little short of 1; this fills the gap.
    width = min(1 / view.canvas.pixels, 0.02) + torch.zeros_like(x0)
    xm, ym, zm = (x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2
    for x, seen in ((x0, view.stands_at < x0), (x1, view.stands_at > x1)):
        corner = view.point(x, y1, z0)
        for middle in ((xm, y1, z0), (x, ym, z0), (x, y1, zm)):
            edge = view.stroke(corner, view.point(*middle), width)
            yield Layer(ink, edge * seen * shown, _FRONT)
    yield from _tiles(layers)


def _walls(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    half, back = f["room_width"] / 2, f["room_depth"]
    low = torch.zeros_like(half)
    high, near = low + 0.1, low + _NEAR
    yield Layer("wall", torch.ones_like(view.x + view.y + half))
    lamp_x, _ = _lamp_place(f)
    glow_x, glow_y = view.point(lamp_x, f["lamp_height"] - f["lamp_drop"] / 2, back)
    glow = torch.hypot(view.x - glow_x, view.y - glow_y)
    yield Layer("wall glow", torch.exp(-((glow / 0.42) ** 2)))
    yield Layer("skirting", view.wall(-half, half, low, high, back))
    left, _ = view.point(-half, low, back)
    right, _ = view.point(half, low, back)
    sides = view.canvas.cover(view.x - left) + view.canvas.cover(right - view.x)
    yield Layer("side wall", sides)
    for x, (first, second) in ((-half, (near, back)), (half, (back, near))):
        corners = ((x, high, first), (x, high, second), (x, low, second), (x, low, first))
        yield Layer("skirting", view.quad([view.point(*c) for c in corners]))


def _floor(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    half, back = f["room_width"] / 2, f["room_depth"]
    low = torch.zeros_like(half)
    left, right = view.point(-half, low, back), view.point(half, low, back)
    near_left, near_right = (view.point(x, low, low + _NEAR) for x in (-half, half))
    outline = torch.maximum(view.beside(left, right), view.beside(near_left, left))
    outline = torch.maximum(outline, view.beside(right, near_right))
    cover = view.canvas.cover(outline)
    yield Layer("floor", cover, _UP)
    plane = view.plane(low)
    speed = torch.hypot(plane.x_right, plane.x_down)
    board = plane.x / f["plank"]
    gap = (board - board.round()).abs() * f["plank"] / speed
    line = 0.005 / speed
    seams = view.canvas.cover(gap - line) - view.canvas.cover(gap + line)
    yield Layer("floor shadow", 0.6 * cover * seams, _UP)


def _window(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    z = f["room_depth"]
    x, y = -_lamp_side(f) * f["window_x"], f["window_y"]
    half_w, half_h = f["window_width"] / 2, f["window_height"] / 2
    x0, x1, y0, y1 = x - half_w, x + half_w, y - half_h, y + half_h
    edge, bar = 0.06, 0.022
    yield Layer("frame", view.wall(x0 - edge, x1 + edge, y0 - edge, y1 + edge, z))
    yield from _outside(f, view, (x, y, z), half_w, half_h)
    yield Layer("frame", view.wall(x - bar, x + bar, y0, y1, z))
    rail = y - 0.1 * half_h
    yield Layer("frame", view.wall(x0, x1, rail - bar, rail + bar, z))
    sill = view.wall(x0 - 0.12, x1 + 0.12, y0 - 0.1, y0 - 0.04, z - 0.06)
    yield Layer("frame", sill, _UP)
    yield from _curtains(f, view, (x0, x1), (y0 - 0.28, y1 + 0.14), z - 0.05)


def _outside(
    f: Mapping[str, Tensor],
    view: _View,
    centre: tuple[Tensor, Tensor, Tensor],
    half_w: Tensor,
    half_h: Tensor,
) -> Iterator[Layer]:
    """Sky and two rows of hills behind the panes."""
    x, y, z = centre
    pane = view.wall(x - half_w, x + half_w, y - half_h, y + half_h, z)
    cx, cy = view.point(x, y, z)
    scale = view.scale(x, z)
    u, v = (view.x - cx) / (half_w * scale), (view.y - cy) / (half_h * scale)
    yield Layer("sky", pane)
    yield Layer("horizon", pane * sdf.fade(-v - 0.1 * u, 1.0))
    for level, phase, share in ((0.25, 1.7, 0.55), (0.5, 0.0, 1.0)):
        line = level - f["hills"] + 0.14 * torch.sin(2.2 * u + f["hill_phase"] + phase)
        yield Layer("land", pane * view.canvas.cover((line - v) * half_h * scale) * share)


def _curtains(
    f: Mapping[str, Tensor],
    view: _View,
    x: tuple[Tensor, Tensor],
    y: tuple[Tensor, Tensor],
    z: Tensor,
) -> Iterator[Layer]:
    width, folds = f["curtain"], 4
    scale = view.scale(x[0], z)
    # What is finer than a pixel averages out; the sinc is that average of a cosine.
    contrast = torch.sinc(folds / (view.canvas.pixels * width * scale))
    for left in (x[0] - 0.1 - 0.4 * width, x[1] + 0.1 - 0.6 * width):
        cloth = view.wall(left, left + width, *y, z)
        yield Layer("curtain", cloth)
        start, _ = view.point(left, y[1], z)
        along = (view.x - start) / (width * scale)
        wave = torch.cos(2 * pi * folds * along) * contrast
        yield Layer("curtain shadow", cloth * (0.5 - 0.5 * wave))
    rod = view.point(x[0] - 0.25, y[1], z), view.point(x[1] + 0.25, y[1], z)
    yield Layer("frame", view.stroke(*rod, 0.022 * scale))


def _rug(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    zero = torch.zeros_like(f["yaw"])
    shadow = _shadows(f, view)
    yield Layer("floor shadow", 0.7 * shadow)
    centre = f["rug_x"], zero, f["rug_z"]
    half_x, half_z, square = f["rug_width"] / 2, f["rug_depth"] / 2, f["rug_square"]
    rug = view.canvas.cover(view.disc(centre, half_x, half_z, square))
    yield Layer("rug border", rug, _UP)
    inner = f["rug_border"]
    for ink, share in (("rug", inner), ("rug border", inner - 0.06), ("rug", inner - 0.1)):
        ring = view.disc(centre, half_x * share, half_z * share, square)
        yield Layer(ink, view.canvas.cover(ring), _UP)
    yield Layer("rug shadow", 0.7 * shadow * rug, _UP)


def _shadows(f: Mapping[str, Tensor], view: _View) -> Tensor:
    """How much the furniture keeps the light from the floor, 0 to 1."""
    floor = view.plane(torch.zeros_like(f["yaw"]))
    depth = f["sofa_depth"] / 2
    blots = (
        (*_table_place(f), f["table_width"] / 2, f["table_depth"] / 2, 0.3),
        (f["sofa_x"], f["sofa_z"] + depth, f["sofa_width"] / 2, depth, 0.14),
        (*_lamp_place(f), 0.17, 0.17, 0.4),
    )
    light = torch.ones_like(floor.x)
    for x, z, half_x, half_z, blur in blots:
        level = _superellipse((floor.x - x) / half_x, (floor.z - z) / half_z, 4.0)
        light = light * (1 - sdf.fade(level - 1, blur))
    return (1 - light) * view.canvas.cover(view.horizon + 0.1 - view.y)


def _lamp_side(f: Mapping[str, Tensor]) -> Tensor:
    return torch.where(f["lamp_side"] < 0, -1.0, 1.0)


def _lamp_place(f: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """X and Z of the lamp: behind the sofa's back line, so that the sofa is always in front."""
    side = _lamp_side(f)
    x = f["sofa_x"] + side * (f["sofa_width"] / 2 + f["lamp_x"])
    return x, f["room_depth"] - 0.25


def _lamp(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    x, z = _lamp_place(f)
    zero = torch.zeros_like(x)
    scale = view.scale(x, z)
    foot = view.ring(x, zero + 0.03, z, zero + 0.15)
    rim = view.ring(x, zero, z, zero + 0.15)
    yield Layer("stand", view.canvas.cover(torch.minimum(foot, rim)))
    top, low = f["lamp_height"], f["lamp_height"] - f["lamp_drop"]
    pole = view.point(x, zero + 0.02, z), view.point(x, low + 0.05, z)
    yield Layer("stand", view.stroke(*pole, 0.018 * scale))
    wide, narrow = f["lamp_shade"], f["lamp_shade"] * f["lamp_taper"]
    lower = view.ring(x, low, z, wide)
    upper = view.ring(x, top, z, narrow)
    cx, ly = view.point(x, low, z)
    _, uy = view.point(x, top, z)
    sides = [(cx - narrow * scale, uy), (cx + narrow * scale, uy)]
    sides += [(cx + wide * scale, ly), (cx - wide * scale, ly)]
    cone = torch.minimum(torch.minimum(view.polygon(sides), lower), upper)
    across = (view.x - cx) / (wide * scale)
    yield Layer("shade", view.canvas.cover(cone), (0.8 * across.clamp(-1, 1), 0 * across))
    glow = torch.exp(-((across / 0.6) ** 2) - ((view.y - ly) / (0.25 * scale)) ** 2)
    yield Layer("shade light", view.canvas.cover(cone) * glow)


def _sofa(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    x, half = f["sofa_x"], f["sofa_width"] / 2
    z0 = f["sofa_z"]
    z1 = z0 + f["sofa_depth"]
    zb = z1 - f["back_depth"]
    low = torch.zeros_like(x) + 0.09
    seat, arm = f["seat_height"], f["arm_width"]
    for side in (-1, 1):
        for z in (z1 - 0.08, z0 + 0.08):
            place = x + side * (half - 0.08)
            leg = view.point(place, low, z), view.point(place, 0 * low + 0.02, z)
            yield Layer("seat shadow", view.stroke(*leg, 0.025 * view.scale(place, z)))
    yield from _cuboid(view, "back", ((x - half, x + half), (low, f["back_height"]), (zb, z1)))
    inner = half - arm
    yield from _cushion_gaps(f, view, "back shadow", ((seat, zb), (f["back_height"], zb)))
    # Seat and arms only half cover the pixels of the edge they share; this is what is behind it.
    yield Layer("seat", view.wall(x - inner - 0.03, x + inner + 0.03, low, seat, z0), _FRONT)
    yield from _arms(f, view, z0, zb, low, behind=True)
    yield from _cuboid(view, "seat", ((x - inner, x + inner), (low, seat), (z0, zb)))
    front = seat - 0.17
    edge = view.wall(x - inner, x + inner, low, front, z0)
    yield Layer("seat shadow", edge, _FRONT)
    yield from _cushion_gaps(f, view, "seat shadow", ((front, z0), (seat, z0)))
    yield from _cushion_gaps(f, view, "seat shadow", ((seat, z0), (seat, zb)))
    yield from _pillows(f, view, x, inner, seat, zb)
    yield from _arms(f, view, z0, zb, low, behind=False)


def _arms(
    f: Mapping[str, Tensor], view: _View, z0: Tensor, z1: Tensor, low: Tensor, behind: bool
) -> Iterator[Layer]:
    """The arms that the seat hides a part of, or those that hide a part of the seat."""
    half, arm = f["sofa_width"] / 2, f["arm_width"]
    for side in (-1, 1):
        outer = f["sofa_x"] + side * half
        inner = f["sofa_x"] + side * (half - arm)
        beyond = side * (view.stands_at - inner) > 0
        shown = (beyond != behind).float()
        x = (outer, inner) if side < 0 else (inner, outer)
        # A little into the back, or the wall would shine through where they only touch.
        ends = (x, (low, f["arm_height"]), (z0 - 0.03, z1 + 0.02))
        yield from _cuboid(view, "arms", ends, shown)


def _cushion_gaps(
    f: Mapping[str, Tensor], view: _View, ink: str, ends: tuple[tuple[Tensor, Tensor], ...]
) -> Iterator[Layer]:
    """Dark lines between two or three cushions, along a front or a top from (Y, Z) to (Y, Z)."""
    inner = f["sofa_width"] / 2 - f["arm_width"]
    (y0, z0), (y1, z1) = ends
    two = (f["seats"] < 2.5).float()
    for place, shown in ((0.0, two), (-1 / 3, 1 - two), (1 / 3, 1 - two)):
        x = f["sofa_x"] + place * inner
        a, b = x - 0.011, x + 0.011
        corners = ((a, y1, z1), (b, y1, z1), (b, y0, z0), (a, y0, z0))
        yield Layer(ink, view.quad([view.point(*c) for c in corners]) * shown, _FRONT)


def _pillows(
    f: Mapping[str, Tensor], view: _View, x: Tensor, inner: Tensor, y: Tensor, z: Tensor
) -> Iterator[Layer]:
    size = f["pillow_size"] / 2
    for side in (-1, 1):
        place = x + side * (inner - size * 1.1 - f["pillow_place"] * inner)
        depth = z - 0.1
        cx, cy = view.point(place, y + size * 0.95, depth)
        half = size * view.scale(place, depth)
        px, py = sdf.rotate(view.x - cx, view.y - cy, side * f["pillow_turn"])
        u, v = px / half, py / half
        # Pinched sides make a pillow of a square.
        px = px / (1 - 0.1 * (1 - v**2).clamp_min(0))
        py = py / (1 - 0.1 * (1 - u**2).clamp_min(0))
        shape = view.canvas.cover(sdf.box(px, py, half, half, 0.1 * half))
        yield Layer("pillows", shape, (0.7 * u.clamp(-1, 1), 0.7 * v.clamp(-1, 1)))


def _table_place(f: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    return f["rug_x"] + f["table_x"], f["rug_z"] + f["table_z"]


def _table(f: Mapping[str, Tensor], view: _View) -> Iterator[Layer]:
    x, z = _table_place(f)
    half_x, half_z, top = f["table_width"] / 2, f["table_depth"] / 2, f["table_height"]
    for dz in (0.66, -0.66):
        for dx in (-0.66, 0.66):
            foot_x, foot_z = x + dx * 1.12 * half_x, z + dz * 1.12 * half_z
            foot = view.point(foot_x, 0 * top, foot_z)
            hip = view.point(x + dx * half_x, top - 0.04, z + dz * half_z)
            yield Layer("table legs", view.stroke(foot, hip, 0.024 * view.scale(foot_x, foot_z)))
    square, bottom = f["table_square"], top - 0.05
    under = view.disc((x, bottom, z), half_x, half_z, square)
    upper = view.disc((x, top, z), half_x, half_z, square)
    # The slab is all that its two faces sweep: the upright between their outermost points.
    left, right = _outermost(view, (x, z), half_x, half_z, square)
    ends = [(left, top), (right, top), (right, bottom), (left, bottom)]
    between = view.polygon([view.point(px, y, pz) for (px, pz), y in ends])
    slab = torch.minimum(torch.minimum(under, upper), between)
    cover = view.canvas.cover(slab)
    yield Layer("table legs", cover, _FRONT)
    cover = view.canvas.cover(upper)
    yield Layer("table top", cover, _UP)


def _outermost(
    view: _View, centre: tuple[Tensor, Tensor], half_x: Tensor, half_z: Tensor, square: Tensor
) -> tuple[Point, Point]:
    """X and Z of the points of a flat superellipse that are seen leftmost and rightmost."""
    turn = torch.linspace(0, 2 * pi, 721)
    c, s = turn.cos(), turn.sin()
    power = 2 / square
    x = centre[0] + half_x * c.sign() * c.abs() ** power
    z = centre[1] + half_z * s.sign() * s.abs() ** power
    seen, _ = view.point(x, torch.zeros_like(x), z)
    ends = seen.argmin(2, keepdim=True), seen.argmax(2, keepdim=True)
    left, right = ((x.gather(2, end), z.gather(2, end)) for end in ends)
    return left, right
