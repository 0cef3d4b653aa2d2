"""The pictures of ``explanation/method.md``, by the bundled generator."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw

import covary
from covary.images import to_pil
from covary.testing import worlds

from .drawing import (
    INK,
    MARKS,
    Tile,
    beside,
    column,
    font,
    labelled,
    row,
    stacked,
    titled,
    upright,
)

if TYPE_CHECKING:
    import altair as alt

__all__ = ["PICTURES"]

SEED = 10
_UPPER = ("corner", {"corners": "upper"})
_POINTS = {"A": (44, 54), "B": (19, 56), "C": (12, 16)}
"""Marked pixels (x, y) of seed 10: A and B in the clothes, C on the wall."""


def overview(seed: int = 1003, side: int = 256, shown: int = 5) -> Image.Image:
    """One structure in several appearances, its clusters, its mask, its overlay."""
    scene = worlds.get("avatars").scene(seed, (side, side))
    source = ("worlds", {"world": "avatars", "resolution": side})
    seg = covary.Pipeline(source, "lab", ("lloyd", {"k": 4}), _UPPER)(seed=seed)
    tiles = [Tile(seg.image, "X0")]
    images = enumerate(scene.images(1, shown - 1), 1)
    tiles += [Tile(image, f"variant {i}") for i, image in images]
    tiles += [
        Tile(labelled(seg.labels, side), "clusters, k = 4"),
        Tile(seg.overlay(), "foreground"),
    ]
    return row(tiles, side=220, size=20)


def variants(seeds: tuple[int, ...] = (SEED, 7, 9), shown: int = 7) -> Image.Image:
    """Three structures, each in the same styles."""
    rows = []
    for seed in seeds:
        image, images = _drawn(seed)
        captions = ["X0", *(f"variant {i}" for i in range(1, shown + 1))]
        tiles = [Tile(one) for one in (image, *images[:shown])]
        if seed == seeds[-1]:
            tiles = [
                Tile(tile.picture, caption) for tile, caption in zip(tiles, captions, strict=True)
            ]
        rows.append((f"seed {seed}", row(tiles, side=112)))
    return stacked(rows, width=80)


def cutoffs(cs: tuple[int, ...] = (0, 2, 4, 7, 10), shown: int = 6) -> Image.Image:
    """One structure mixed with the same styles from other layers on."""
    rows = []
    for c in cs:
        image, images = _drawn(SEED, c=c)
        tiles = [Tile(one) for one in (image, *images[:shown])]
        rows.append((f"c = {c}", row(tiles, side=98, size=15)))
    last = f"c = {cs[-1]}"
    captions = ["X0", *(f"variant {i}" for i in range(1, shown + 1))]
    tiles = [Tile(one, text) for one, text in zip((image, *images[:shown]), captions, strict=True)]
    rows[-1] = (last, row(tiles, side=98, size=15))
    return stacked(rows, width=80)


def curves() -> Image.Image:
    """The colours of three pixels over all variants: as they are, and as curves."""
    image, images = _drawn(SEED)
    lab = covary.StyleSummary.from_images(images, "lab")
    values = {
        name: lab.rows(0, lab.pixels)[y * 64 + x].reshape(-1, 3) for name, (x, y) in _POINTS.items()
    }
    strips = [
        _strip(name, MARKS[i], images[:, :, y, x])
        for i, (name, (x, y)) in enumerate(_POINTS.items())
    ]
    left = row([Tile(_marked(image), "X0 and three of its pixels")], side=330)
    right = column([*strips, _chart(values)], gap=8)
    return beside([left, right], gap=26)


def correlations() -> Image.Image:
    """How every pixel correlates with each of three, over the variants."""
    image, images = _drawn(SEED)
    summary = covary.StyleSummary.from_images(images, "lab")
    centred = summary.matrix(torch.float32)
    centred = centred.reshape(len(centred), -1, 3)
    centred = (centred - centred.mean(dim=1, keepdim=True)).flatten(1)
    unit = centred / centred.norm(dim=1, keepdim=True).clamp_min(1e-6)
    tiles = [Tile(_marked(image), "X0")]
    for name, (x, y) in _POINTS.items():
        r = (unit @ unit[y * 64 + x]).reshape(64, 64)
        tiles.append(Tile(_heat(r), f"correlation with {name}"))
    return beside([row(tiles, side=230), _scale(230)], gap=16)


def clusters(ks: tuple[int, ...] = (2, 3, 4, 6, 8)) -> Image.Image:
    """The clusters of one summary for several k."""
    image, images = _drawn(SEED)
    summary = covary.StyleSummary.from_images(images, "lab")
    tiles = [Tile(image, "X0")]
    for k in ks:
        found = covary.create("lloyd", k=k).fit(summary)
        tiles.append(Tile(labelled(found.labels, 192), f"k = {k}"))
    return row(tiles, side=192)


def foreground() -> Image.Image:
    """What the three rules look at, and what they choose."""
    return column(
        [
            titled(_by_corner(), "corner: a cluster that fills a corner is background"),
            titled(_by_saliency(), "saliency: a cluster whose pixels are salient is foreground"),
            titled(_by_box(), "box: every box is clustered and judged alone"),
        ],
        gap=20,
    )


def _drawn(seed: int, c: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """X_0 (3, 64, 64) and its variants (50, 3, 64, 64) by the preset's generator."""
    source = covary.Pipeline.preset("avatars").replace(source=_source(c)).source
    # One seed for the styles of all structures, so that columns can be compared.
    opened = source.open(covary.Query(seed=seed), covary.RunContext().at("source", source.id))
    return opened.image, torch.cat([batch.images for batch in opened.batches])


def _source(c: int) -> tuple[str, dict[str, Any]]:
    return "stylegan2", {"checkpoint": "avatars-64", "c": c, "psi": 0.8}


def _marked(image: torch.Tensor, side: int = 512) -> Image.Image:
    """The image with the chosen pixels ringed and named."""
    shown = upright(image, side)
    draw = ImageDraw.Draw(shown)
    scale = side / image.shape[1]
    for (name, (x, y)), colour in zip(_POINTS.items(), MARKS, strict=False):
        at = ((x + 0.5) * scale, (y + 0.5) * scale)
        draw.circle(at, 17, fill=colour, outline=(255, 255, 255), width=3)
        draw.text(at, name, fill=(255, 255, 255), font=font(23), anchor="mm")
    return shown


def _strip(
    name: str, colour: tuple[int, int, int], colours: torch.Tensor, width: int = 900
) -> Image.Image:
    """The colours uint8 (n, 3) of one pixel, variant by variant."""
    shown = Image.new("RGB", (width, 34), (255, 255, 255))
    draw = ImageDraw.Draw(shown)
    draw.circle((14, 17), 13, fill=colour)
    draw.text((14, 17), name, fill=(255, 255, 255), font=font(17), anchor="mm")
    left, step = 46, (width - 46) / len(colours)
    for i, one in enumerate(colours.tolist()):
        draw.rectangle((left + i * step, 2, left + (i + 1) * step, 31), fill=tuple(one))
    return shown


def _chart(values: dict[str, torch.Tensor], width: int = 900) -> Image.Image:
    """Lightness and the red-green axis of the pixels over the variants."""
    import altair as alt
    import vl_convert

    rows = [
        {"pixel": name, "variant": i + 1, "channel": channel, "value": float(lab[i, c])}
        for name, lab in values.items()
        for i in range(len(lab))
        for c, channel in enumerate(("L*", "a*"))
    ]
    panels = [_panel(rows, channel, last=channel == "a*") for channel in ("L*", "a*")]
    chart = alt.vconcat(*panels, spacing=6).configure_view(stroke=None)
    chart = chart.configure_axis(
        gridColor="#e4e7eb", domain=False, ticks=False, labelFontSize=7, labelColor="#5b646e"
    )
    png = vl_convert.vegalite_to_png(chart.to_dict(), scale=2)
    return _fitted(Image.open(io.BytesIO(png)).convert("RGB"), width)


def _panel(rows: list[dict[str, Any]], channel: str, last: bool) -> alt.Chart:
    """One channel's curves; the last panel names the horizontal axis."""
    import altair as alt

    names = list(dict.fromkeys(row["pixel"] for row in rows))
    hexes = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in MARKS[: len(names)]]
    # B lies on A almost everywhere: dashes let both be seen.
    dashes = alt.Scale(domain=names, range=[[1, 0], [5, 4], [1, 0]])
    title = alt.Title(channel, anchor="start", fontSize=8, fontWeight="normal", offset=2)
    axis = alt.Axis(
        title="variant" if last else None,
        labels=last,
        titleFontSize=8,
        titleFontWeight="normal",
        grid=False,
        values=[1, 10, 20, 30, 40, 50],
    )
    return (
        alt.Chart(alt.Data(values=[row for row in rows if row["channel"] == channel]), title=title)
        .mark_line(strokeWidth=1.4)
        .encode(
            x=alt.X("variant:Q", scale=alt.Scale(domain=[1, 50]), axis=axis),
            y=alt.Y("value:Q", axis=alt.Axis(title=None, tickCount=3)),
            color=alt.Color("pixel:N", scale=alt.Scale(domain=names, range=hexes), legend=None),
            strokeDash=alt.StrokeDash("pixel:N", scale=dashes, legend=None),
        )
        .properties(width=420, height=58)
    )


def _fitted(picture: Image.Image, width: int) -> Image.Image:
    height = round(picture.height * width / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _heat(r: torch.Tensor) -> Image.Image:
    """Correlations (H, W): blue is -1, white 0, orange 1."""
    up, down = torch.tensor([200.0, 90, 0]), torch.tensor([0.0, 90, 180])
    share = r.abs().clamp(0, 1)[..., None]
    colour = 255 + share * (torch.where(r[..., None] > 0, up, down) - 255)
    return to_pil(colour.round().to(torch.uint8).permute(2, 0, 1))


def _scale(height: int) -> Image.Image:
    """The legend of :func:`_heat`."""
    shown = Image.new("RGB", (64, height), (255, 255, 255))
    ramp = torch.linspace(1, -1, height - 16)[:, None].expand(-1, 18)
    shown.paste(_heat(ramp), (0, 8))
    draw = ImageDraw.Draw(shown)
    for value, y in ((1, 8), (0, height / 2), (-1, height - 8)):
        draw.text((26, y), f"{value:+d}" if value else "0", fill=INK, font=font(16), anchor="lm")
    return shown


def _by_corner() -> Image.Image:
    pipe = covary.Pipeline.preset("avatars")
    tiles = []
    for corners in ("upper", "all"):
        seg = pipe.replace(foreground=("corner", {"corners": corners}))(seed=SEED)
        looked_at = labelled(seg.labels, 512)
        draw = ImageDraw.Draw(looked_at)
        b = 64  # an eighth of the side, as the rule takes by default
        places = [(0, 0), (512 - b, 0)]
        places += [(0, 512 - b), (512 - b, 512 - b)] if corners == "all" else []
        for x, y in places:
            draw.rectangle((x + 3, y + 3, x + b - 4, y + b - 4), outline=(0, 0, 0), width=6)
        tiles += [Tile(looked_at, f"corners = {corners}"), Tile(seg.overlay(), _verdict(seg))]
    return row(tiles)


def _by_saliency() -> Image.Image:
    pipe = covary.Pipeline.preset("avatars")
    tiles = []
    for what, params in (
        ("the default map", {}),
        ("mean (0.5, 0.7)", {"mean": (0.5, 0.7), "sigma": 0.4, "theta_saliency": 0.5}),
    ):
        rule: Any = covary.create("saliency", kind="foreground", **params)
        seg = pipe.replace(foreground=rule)(seed=SEED)
        heat = rule.heat_map((256, 256))
        grey = to_pil((heat * 255).to(torch.uint8)[None].expand(3, -1, -1).contiguous())
        tiles += [Tile(grey, what), Tile(seg.overlay(), _verdict(seg))]
    return row(tiles)


def _by_box(seed: int = 1004, side: int = 256) -> Image.Image:
    source = ("worlds", {"world": "rooms", "resolution": side})
    scene = worlds.get("rooms").scene(seed, (side, side))
    wanted = ("sofa", "lamp")
    boxes = [
        (max(0, x0 - 6), max(0, y0 - 6), min(side, x1 + 6), min(side, y1 + 6))
        for name, x0, y0, x1, y1 in scene.truth.boxes[0]
        if name in wanted
    ]
    rule = ("box", {"boxes": boxes, "rule": {"use": "corner"}})
    seg = covary.Pipeline(source, "lab", ("lloyd", {"k": 4}), rule)(seed=seed)
    shown = upright(seg.image, 512)
    draw = ImageDraw.Draw(shown)
    for box in boxes:
        draw.rectangle([2 * edge for edge in box], outline=(255, 255, 255), width=8)
        draw.rectangle([2 * edge for edge in box], outline=(0, 0, 0), width=4)
    return row(
        [
            Tile(seg.image, "X0"),
            Tile(shown, "two boxes"),
            Tile(labelled(seg.labels, 512), "k = 4 in each"),
            Tile(seg.overlay(), _verdict(seg)),
        ]
    )


def _verdict(seg: covary.Segmentation) -> str:
    return "foreground" if seg.found else "none found"


PICTURES: Mapping[str, Callable[[], Image.Image]] = {
    "method": overview,
    "method-variants": variants,
    "method-cutoff": cutoffs,
    "method-curves": curves,
    "method-correlation": correlations,
    "method-clusters": clusters,
    "method-foreground": foreground,
}
"""What draws each picture, by name."""
