"""Avatars: one person in front of a two-colour gradient, drawn flat.

All lengths are in scene units (the image spans [-1, 1]) unless the table says that they are
relative to the head's half-width or half-height.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import pi
from types import MappingProxyType

import torch
from torch import Tensor

from covary.testing.worlds import _shapes as sdf
from covary.testing.worlds._colour import hsv, mix, soft
from covary.testing.worlds._scene import Canvas, Field, Layer, World

__all__ = ["APPEARANCE", "STRUCTURE", "Avatars"]

STRUCTURE: tuple[Field, ...] = (
    Field("head_x", -0.12, 0.12, "head centre"),
    Field("head_y", -0.12, 0.03, "head centre; never low, so that the shoulders show"),
    Field("head_radius", 0.42, 0.56, "head half-height"),
    Field("head_aspect", 1.1, 1.4, "head height over width"),
    Field("tilt", -0.15, 0.15, "rotation of the head, radians"),
    Field("jaw", 0.02, 0.24, "how much the face narrows towards the chin"),
    Field("ear_size", 0.13, 0.2, "of the head's half-height"),
    Field("ear_y", 0.0, 0.14, "below the head's centre, of its half-height"),
    Field("neck_width", 0.4, 0.52, "half-width, of the head's"),
    Field("shoulder_x", -0.08, 0.08, "body centre against the head's"),
    Field("shoulder_y", 1.2, 1.38, "below the head's centre, in head half-heights"),
    Field("shoulder_width", 0.72, 1.0, "half-width"),
    Field("shoulder_round", 0.22, 0.42, "corner radius"),
    Field("neckline_width", 1.05, 1.5, "half-width, of the neck's"),
    Field("neckline_depth", 0.04, 0.2, "depth below the shoulders"),
    Field("collar", 0.025, 0.06, "width of the collar band"),
    Field("hair_volume", 0.1, 0.3, "how far the hair stands off the head, of its half-width"),
    Field("hair_length", -0.2, 1.7, "where the back hair ends, in head half-heights"),
    Field("hair_flare", -0.06, 0.2, "widening of long hair, of the head's half-width"),
    Field("hair_curl", -0.07, 0.07, "height of the curls, of the head's half-width; 0 if negative"),
    Field("hair_phase", 0.0, 2 * pi, "where the curls start"),
    Field("bun_size", -0.3, 0.42, "radius, of the head's half-width; none below about 0.1"),
    Field("bun_angle", -0.6, 0.6, "place of the bun, radians from the top"),
    Field("hairline", -0.74, -0.46, "top of the forehead, in head half-heights"),
    Field("parting", -0.8, 0.8, "where the fringe parts, in head half-widths"),
    Field("fringe", 0.1, 0.42, "how far the fringe falls away from the parting"),
    Field("fringe_tips", -0.02, 0.07, "depth of the tips of the fringe; none if negative"),
    Field("sideburns", 0.1, 0.5, "how far the hair comes down at the temples"),
    Field("eye_y", 0.04, 0.16, "below the head's centre, of its half-height"),
    Field("eye_gap", 0.38, 0.48, "eye centres off the middle, of the head's half-width"),
    Field("eye_width", 0.17, 0.23, "half-width, of the head's"),
    Field("eye_open", 0.75, 1.1, "eye height over width"),
    Field("iris_size", 0.66, 0.8, "of the eye's half-width"),
    Field("gaze_x", -0.25, 0.25, "of the eye's half-width"),
    Field("gaze_y", -0.12, 0.12, "of the eye's half-width"),
    Field("brow_y", 0.26, 0.38, "above the eyes, of the head's half-height"),
    Field("brow_slant", -0.2, 0.2, "outer ends up, slope"),
    Field("brow_arch", 0.0, 0.3, "curvature"),
    Field("brow_width", 0.035, 0.07, "half-thickness, of the head's half-width"),
    Field("nose_y", 0.3, 0.4, "below the head's centre, of its half-height"),
    Field("nose_size", 0.08, 0.13, "half-width, of the head's"),
    Field("mouth_y", 0.52, 0.62, "below the head's centre, of its half-height"),
    Field("mouth_width", 0.22, 0.4, "half-width, of the head's"),
    Field(
        "smile", 0.06, 0.42, "how far the middle hangs below the ends, of the mouth's half-width"
    ),
    Field("mouth_open", 0.0, 0.6, "height in the middle, of the mouth's half-width"),
    Field("gradient_angle", 0.0, 2 * pi, "direction of the background gradient, radians"),
    Field("stripe_angle", 0.0, pi, "direction across the stripes, radians"),
    Field("stripe_pitch", 0.35, 0.8, "width of a stripe and its gap"),
    Field("stripe_phase", 0.0, 1.0, "offset, in pitches"),
    Field("stripe_strength", -0.5, 0.5, "opacity of the stripes; absent if negative"),
)

APPEARANCE: tuple[Field, ...] = (
    Field("skin_hue", 0.0, 0.12, "turns"),
    Field("skin_saturation", 0.3, 0.5, ""),
    Field("skin_value", 0.5, 1.0, ""),
    Field("blush", 0.15, 0.6, "how pink the cheeks are"),
    Field("hair_hue", 0.0, 1.0, "turns"),
    Field("hair_saturation", 0.25, 0.75, ""),
    Field("hair_value", 0.16, 0.85, ""),
    Field("hair_shine", 0.04, 0.2, "how light the highlight is"),
    Field("brow_value", 0.55, 0.8, "of the hair's value"),
    Field("clothes_hue", 0.0, 1.0, "turns"),
    Field("clothes_saturation", 0.3, 0.72, ""),
    Field("clothes_value", 0.3, 0.95, ""),
    Field("collar_hue", -0.08, 0.08, "turns from the clothes'"),
    Field("collar_tone", 0.12, 0.45, "how far towards white"),
    Field("iris_hue", 0.0, 1.0, "turns"),
    Field("iris_saturation", 0.35, 0.75, ""),
    Field("iris_value", 0.35, 0.75, ""),
    Field("pupil_value", 0.04, 0.16, ""),
    Field("eye_tint", 0.0, 0.06, "saturation of the whites"),
    Field("mouth_hue", -0.06, 0.03, "turns"),
    Field("mouth_saturation", 0.45, 0.7, ""),
    Field("mouth_value", 0.55, 0.9, ""),
    Field("background_hue", 0.0, 1.0, "turns"),
    Field("background_saturation", 0.12, 0.6, ""),
    Field("background_value", 0.5, 1.0, ""),
    Field("second_hue", -0.15, 0.15, "turns from the first background colour"),
    Field("second_saturation", -0.1, 0.1, "from the first's"),
    Field("second_value", -0.14, 0.14, "from the first's"),
    Field("stripe_hue", -0.06, 0.06, "turns from the first background colour"),
    Field("stripe_tone", 0.1, 0.45, "how far towards white"),
    Field("light_angle", 0.0, 2 * pi, "radians; where the light comes from"),
    Field("light_strength", 0.08, 0.2, ""),
)

_PARTS = (
    "background",
    "stripes",
    "hair",
    "neck",
    "clothes",
    "ears",
    "head",
    "eyes",
    "irises",
    "pupils",
    "brows",
    "mouth",
)
_PERSON = frozenset(_PARTS[2:])
_CLASSES = {
    "hair": frozenset({"hair", "brows"}),
    "skin": frozenset({"head", "neck", "ears"}),
    "clothes": frozenset({"clothes"}),
    "eyes": frozenset({"eyes", "irises", "pupils"}),
    "mouth": frozenset({"mouth"}),
}

_INKS = {
    "background": "background",
    "second": "background",
    "stripes": "stripes",
    "hair": "hair",
    "hair back": "hair",
    "hair strands": "hair",
    "hair shine": "hair",
    "neck": "neck",
    "neck shadow": "neck",
    "clothes": "clothes",
    "collar": "clothes",
    "ears": "ears",
    "head": "head",
    "skin shadow": "head",
    "blush": "head",
    "eyes": "eyes",
    "irises": "irises",
    "pupils": "pupils",
    "brows": "brows",
    "mouth": "mouth",
    "teeth": "mouth",
}


class Avatars(World):
    """People in front of gradients; foreground is the whole person."""

    name = "avatars"
    parts = _PARTS
    foreground = _PERSON
    objects = MappingProxyType({"person": _PERSON})
    classes = MappingProxyType(_CLASSES)
    inks = MappingProxyType(_INKS)
    STRUCTURE = STRUCTURE
    APPEARANCE = APPEARANCE

    def _layers(self, fields: Mapping[str, Tensor], canvas: Canvas) -> Iterator[Layer]:
        head = _Head(fields, canvas)
        yield from _background(fields, canvas)
        yield from _back_hair(fields, canvas, head)
        yield from _body(fields, canvas, head)
        yield from _face(fields, canvas, head)
        yield from _features(fields, canvas, head)
        yield from _fringe(fields, canvas, head)

    def _palette(self, fields: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        f = fields
        # Dark skin is more saturated than fair skin. Towards red and yellow both are
        # paler, or they would look burnt or ill.
        paler = 1 - 0.4 * ((f["skin_hue"] - 0.07) / 0.07) ** 2
        depth = f["skin_saturation"] + 0.5 * (0.75 - f["skin_value"])
        skin = hsv(f["skin_hue"], depth * paler, f["skin_value"])
        shadow = skin * torch.tensor([0.86, 0.78, 0.78])
        hair = soft(f["hair_hue"], f["hair_saturation"], f["hair_value"])
        clothes_hue = f["clothes_hue"]
        clothes = soft(clothes_hue, f["clothes_saturation"], f["clothes_value"])
        trim = soft(clothes_hue + f["collar_hue"], f["clothes_saturation"], f["clothes_value"])
        hue, saturation = f["background_hue"], f["background_saturation"]
        value = f["background_value"]
        second = soft(
            hue + f["second_hue"], saturation + f["second_saturation"], value + f["second_value"]
        )
        stripes = soft(hue + f["stripe_hue"], saturation, value)
        white = torch.ones(3)
        pink = torch.tensor([1.0, 0.42, 0.42])
        return {
            "background": soft(hue, saturation, value),
            "second": second,
            "stripes": mix(stripes, white, f["stripe_tone"][:, None]),
            "hair": hair,
            "hair back": hair * 0.84,
            "hair strands": hair * 0.8,
            "hair shine": mix(hair, white, f["hair_shine"][:, None]),
            "neck": skin,
            "neck shadow": shadow,
            "clothes": clothes,
            "collar": mix(trim, white, f["collar_tone"][:, None]),
            "ears": skin * 0.95,
            "head": skin,
            "skin shadow": shadow,
            "blush": mix(skin, pink * f["skin_value"][:, None], f["blush"][:, None]),
            "eyes": hsv(f["skin_hue"], f["eye_tint"], 0.99 - f["eye_tint"]),
            "irises": hsv(f["iris_hue"], f["iris_saturation"], f["iris_value"]),
            "pupils": hsv(f["iris_hue"], f["iris_saturation"], f["pupil_value"]),
            "brows": hair * f["brow_value"][:, None],
            "mouth": hsv(f["mouth_hue"], f["mouth_saturation"], f["mouth_value"]),
            "teeth": hsv(f["skin_hue"], f["eye_tint"], 0.99 - f["eye_tint"]),
        }

    def _light(self, fields: Mapping[str, Tensor]) -> Tensor:
        angle = fields["light_angle"]
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        return direction * fields["light_strength"][:, None]


class _Head:
    """The head's own frame: tilted coordinates around its centre, and its half sizes."""

    def __init__(self, f: Mapping[str, Tensor], canvas: Canvas) -> None:
        self.cx, self.cy = f["head_x"], f["head_y"]
        self.ry = f["head_radius"]
        self.rx = self.ry / f["head_aspect"]
        self.x, self.y = sdf.rotate(canvas.x - self.cx, canvas.y - self.cy, f["tilt"])
        self.u, self.v = self.x / self.rx, self.y / self.ry
        lower = self.v.clamp(0, 1)
        self.distance = sdf.ellipse(self.x / (1 - f["jaw"] * lower**2), self.y, self.rx, self.ry)

    @property
    def normal(self) -> tuple[Tensor, Tensor]:
        return self.u.clamp(-1.2, 1.2), self.v.clamp(-1.2, 1.2)


def _background(f: Mapping[str, Tensor], canvas: Canvas) -> Iterator[Layer]:
    angle = f["gradient_angle"]
    along = canvas.x * angle.cos() + canvas.y * angle.sin()
    blend = sdf.fade(along, 1.3)
    yield Layer("background", torch.ones_like(blend))
    yield Layer("second", blend)
    angle, pitch = f["stripe_angle"], f["stripe_pitch"]
    across = (canvas.x * angle.cos() + canvas.y * angle.sin()) / pitch + f["stripe_phase"]
    # Averaging over a pixel scales the wave by a sinc; without it coarse sizes would differ.
    wave = torch.cos(2 * pi * across) * torch.sinc(1 / (canvas.pixels * pitch))
    yield Layer("stripes", f["stripe_strength"].clamp_min(0) * (0.5 + 0.5 * wave))


def _hair_outline(f: Mapping[str, Tensor], head: _Head) -> Tensor:
    """The cap around the skull, with curls along its edge."""
    volume = 1 + f["hair_volume"]
    y = head.y + 0.1 * head.ry
    cap = sdf.ellipse(head.x, y, head.rx * volume, head.ry * (1 + 0.62 * f["hair_volume"]))
    wave = torch.cos(9 * torch.atan2(y, head.x) + f["hair_phase"])
    return cap - f["hair_curl"].clamp_min(0) * head.rx * wave


def _back_hair(f: Mapping[str, Tensor], canvas: Canvas, head: _Head) -> Iterator[Layer]:
    cap = _hair_outline(f, head)
    length = f["hair_length"] * head.ry
    top = -0.3 * head.ry
    reach = ((length - top) / 2).clamp_min(0.05)
    grow = ((head.y - top) / head.ry).clamp(0, 2)
    half = head.rx * (1 + 0.8 * f["hair_volume"] + f["hair_flare"] * grow)
    curtain = sdf.box(
        head.x, head.y - top - reach, half, reach, 0.55 * torch.minimum(reach, head.rx)
    )
    size = f["bun_size"].clamp_min(0.02) * head.rx
    place = f["bun_angle"]
    # A small bun sinks into the cap, so that it appears without a jump.
    lift = head.ry * (0.88 + 0.62 * f["hair_volume"]) + 0.7 * size
    bx, by = head.x - 0.85 * lift * place.sin(), head.y + 0.1 * head.ry + lift * place.cos()
    bun = torch.hypot(bx, by) - size
    yield Layer("hair", canvas.cover(bun), (bx / head.rx, by / head.rx))
    shape = sdf.smooth_union(cap, curtain, 0.12 * head.rx)
    yield Layer("hair back", canvas.cover(shape), head.normal)


def _body(f: Mapping[str, Tensor], canvas: Canvas, head: _Head) -> Iterator[Layer]:
    cx = head.cx + f["shoulder_x"]
    top = head.cy + f["shoulder_y"] * head.ry
    neck_half = f["neck_width"] * head.rx
    x, y = canvas.x - cx, canvas.y - top
    width, radius = f["shoulder_width"], f["shoulder_round"]
    torso = sdf.box(x, y - 9.0, width, 9.0, radius)
    slope = sdf.ellipse(x, y - 0.06, 0.62 * width, 0.12)
    outline = sdf.smooth_union(torso, slope, 0.12)
    hole = sdf.ellipse(x, y + 0.06, neck_half * f["neckline_width"], 0.08 + f["neckline_depth"])
    # The neck leans from the chin to the body.
    lean = (canvas.x - head.cx) - f["shoulder_x"] * ((canvas.y - head.cy) / (top - head.cy))
    column = sdf.box(lean, y + 0.1, neck_half, 0.6, 0.0)
    neck = canvas.cover(torch.minimum(column, torch.maximum(outline, hole - 0.02)))
    normal = (0.8 * (x / neck_half).clamp(-1, 1), torch.zeros_like(y))
    yield Layer("neck", neck, normal)
    shade = sdf.fade(head.distance - 0.1 * head.ry, 0.05)
    yield Layer("neck shadow", neck * shade, normal)

    cloth = torch.maximum(outline, -hole)
    normal = ((x / width).clamp(-1, 1), (1.4 * y - 0.5).clamp(-0.6, 0.6))
    yield Layer("clothes", canvas.cover(cloth), normal)
    band = torch.maximum(cloth, hole - f["collar"])
    yield Layer("collar", canvas.cover(band), normal)


def _face(f: Mapping[str, Tensor], canvas: Canvas, head: _Head) -> Iterator[Layer]:
    size, y = f["ear_size"] * head.ry, head.y - f["ear_y"] * head.ry
    x = head.x.abs() - 1.0 * head.rx
    yield Layer("ears", canvas.cover(sdf.ellipse(x, y, 0.66 * size, size)), head.normal)
    inner = sdf.ellipse(x - 0.1 * size, y, 0.32 * size, 0.55 * size)
    yield Layer("skin shadow", canvas.cover(inner) * 0.8, head.normal)
    skin = canvas.cover(head.distance)
    yield Layer("head", skin, head.normal)
    cheek = torch.hypot(head.u.abs() - 0.56, (head.v - 0.4) * f["head_aspect"]) - 0.17
    yield Layer("blush", sdf.fade(cheek, 0.12) * 0.7 * skin, head.normal)


def _features(f: Mapping[str, Tensor], canvas: Canvas, head: _Head) -> Iterator[Layer]:
    rx, ry = head.rx, head.ry
    half = f["eye_width"] * rx
    eye_y = head.y - f["eye_y"] * ry
    side = torch.where(head.x < 0, -1.0, 1.0)
    eye_x = head.x.abs() - f["eye_gap"] * rx
    white = sdf.ellipse(eye_x, eye_y, half, half * f["eye_open"])
    lid = sdf.ellipse(
        eye_x - 0.04 * half, eye_y + 0.1 * half, half * 1.12, half * f["eye_open"] * 1.1
    )
    yield Layer("brows", canvas.cover(torch.maximum(lid, eye_y + 0.05 * half)), head.normal)
    opening = canvas.cover(white)
    yield Layer("eyes", opening)
    ix, iy = eye_x - side * f["gaze_x"] * half, eye_y - f["gaze_y"] * half
    iris = torch.hypot(ix, iy)
    yield Layer("irises", opening * canvas.cover(iris - f["iris_size"] * half))
    yield Layer("pupils", opening * canvas.cover(iris - 0.52 * f["iris_size"] * half))
    spark = torch.hypot(ix + side * 0.24 * half, iy + 0.26 * half) - 0.17 * half
    yield Layer("eyes", opening * canvas.cover(spark))

    bx, by = eye_x / half, eye_y / half + f["brow_y"] * ry / half
    slant, arch = f["brow_slant"], f["brow_arch"]
    start = bx.clamp(-1.2, 1.2)
    slope = 2 * arch * start - slant
    # One Newton step towards the nearest point of the parabola is enough at this curvature.
    step = slope * (by - arch * start**2 + slant * start) / (1 + slope**2)
    foot = (start + step).clamp(-0.95, 0.95)
    away = torch.hypot(bx - foot, by - arch * foot**2 + slant * foot) * half
    brow = away - f["brow_width"] * rx
    yield Layer("brows", canvas.cover(brow), head.normal)

    nx, ny = head.x, head.y - f["nose_y"] * ry
    nose = f["nose_size"] * rx
    tip = torch.maximum(sdf.ellipse(nx, ny, nose, 0.75 * nose), -(ny + 0.1 * nose))
    yield Layer("skin shadow", 0.8 * canvas.cover(tip), head.normal)

    mw = f["mouth_width"] * rx
    mx = head.x / mw
    bow = (1 - mx**2).clamp_min(-1)
    my = head.y - f["mouth_y"] * ry
    upper, lower = f["smile"] * mw, (f["smile"] + f["mouth_open"]) * mw
    top = sdf.curve(my, upper * bow, -2 * upper * mx / mw)
    bottom = sdf.curve(my, lower * bow, -2 * lower * mx / mw)
    # Past the ends, seen along the curve, the corner is nearest.
    beyond = head.x.abs() - mw - (upper + lower) / mw * my
    gap = torch.where(beyond > 0, torch.hypot(head.x.abs() - mw, my), torch.maximum(-top, bottom))
    lips = canvas.cover(gap - 0.04 * rx)
    yield Layer("mouth", lips, head.normal)
    height = 0.55 * f["mouth_open"] * mw - 0.04 * rx
    # Fading the first sliver in keeps a dotted line out of nearly closed mouths.
    shown = (height / (0.04 * rx)).clamp(0, 1)
    yield Layer("teeth", shown * lips * canvas.cover(torch.maximum(gap, top - height)))


def _fringe(f: Mapping[str, Tensor], canvas: Canvas, head: _Head) -> Iterator[Layer]:
    cap = _hair_outline(f, head)
    away = head.u - f["parting"]
    rise, sides = f["fringe"], f["sideburns"]
    # Strands fan out from the parting, which is what makes it hair and not a cap.
    sx, sy = head.x - f["parting"] * head.rx, head.y + 1.25 * head.ry
    combed = 0.5 + 0.5 * torch.cos(26 * torch.atan2(sx, sy))
    tips = f["fringe_tips"].clamp_min(0) * combed
    line = f["hairline"] + tips + rise * away**2 + sides * head.u**6
    slope = (2 * rise * away + 6 * sides * head.u**5) * head.ry / head.rx
    hair = torch.maximum(cap, sdf.curve(head.y, line * head.ry, slope))
    cover = canvas.cover(hair)
    yield Layer("hair", cover, head.normal)
    visible = sdf.fade(1 / (canvas.pixels * torch.hypot(sx, sy)) - 0.06, 0.05)
    yield Layer("hair strands", cover * combed.square() * visible * 0.5, head.normal)
    ring = torch.hypot(head.u, head.v + 0.1) - 0.93
    shine = sdf.fade(ring.abs() - 0.02, 0.07) * sdf.fade((head.u + 0.3).abs() - 0.35, 0.2)
    yield Layer("hair shine", cover * shine * sdf.fade(head.v, 0.2), head.normal)
