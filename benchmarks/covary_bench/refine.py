"""Soft masks, refiners and composition against exact masks: ``python -m covary_bench.refine``.

The renderer knows how much of each pixel is content (its share) and which pixels are mostly
content (the mask). Rendered avatars, 128x128, 20 variants, are clustered in LAB with k = 4 and
judged by the upper corners. Sofas and coffee tables of rendered rooms, 256x256, are clustered
inside their exact boxes with k = 4; their foreground is every cluster that lies mostly inside the
exact mask, so that what is measured is not the rule. With grain, every image has Gaussian noise of
20 grey levels. Where no foreground was found there is nothing to refine: such scenes are counted
and left out.

``shares``: mean absolute error of soft masks, over all pixels and over those that are mixed (a
share in 0.01..0.99). ``refiners``: mIoU, the same errors, and on how many scenes the IoU of the
foreground rose or fell by more than 0.001 against the raw mask. ``composition``: avatars, 96x96,
put on a plain colour; the exact picture is composed at four times the size and averaged, of coded
colours as the renderer mixes them ("coded"), or of light as a camera does ("light"); mean absolute
error in grey levels, over all pixels and the mixed ones.

Seeds start at 1000; smaller ones were used while formulas and defaults were chosen.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch.nn.functional import avg_pool2d

import covary
from covary import Box, ClusterMap, Foreground, RunContext, StyleSummary, composition
from covary.provenance import iou
from covary.testing import worlds
from covary.testing.worlds import Scene

from .report import RESULTS, print_table, write_results

__all__ = ["CHAINS", "MIXTURES", "SHARES", "Case", "cases", "main"]

GRAIN = 20
CHAINS: dict[str, tuple[str, ...]] = {
    "none": (),
    "guided": ("guided",),
    "cleanup": ("cleanup",),
    "guided, cleanup": ("guided", "cleanup"),
    "cleanup, guided": ("cleanup", "guided"),
}
"""Refiners, in their order."""


class Case(NamedTuple):
    """One object of a scene, clustered and judged, and what it is exactly."""

    image: torch.Tensor
    summary: StyleSummary
    clusters: ClusterMap
    foreground: Foreground
    truth: torch.Tensor
    """bool (H, W)."""
    share: torch.Tensor
    """float32 (H, W)."""


# --- scenes ----------------------------------------------------------------------------------


def cases(what: str, seed: int) -> Iterator[Case | None]:
    """The objects of a seed's scene; None for one without confident foreground."""
    world, _, grain = what.partition(", ")
    size = (128, 128) if world == "avatars" else (256, 256)
    scene = worlds.get(world).scene(seed, size)
    images = grained(scene.images(seed, 21), GRAIN if grain else 0, seed)
    summary = StyleSummary.from_images(images[1:])
    if world == "avatars":
        yield judged(images[0], summary, seed, *exact(scene, scene.world.foreground))
        return
    for name, *ends in scene.truth.boxes[0]:
        if name in ("sofa", "coffee table"):
            box = Box(*ends)
            inside = box.slices
            truth, share = (one[inside] for one in exact(scene, scene.world.objects[name]))
            image = images[0][:, inside[0], inside[1]]
            yield judged(image, summary.crop(box), seed, truth, share, by_oracle=True)


def judged(
    image: torch.Tensor,
    summary: StyleSummary,
    seed: int,
    truth: torch.Tensor,
    share: torch.Tensor,
    *,
    by_oracle: bool = False,
) -> Case | None:
    """The case, or None where nothing is found: by the upper corners, or by the exact mask."""
    clusters = covary.create("lloyd", k=4).fit(summary, RunContext(seed=seed))
    if by_oracle:
        inside = torch.bincount(clusters.labels[truth].long(), minlength=clusters.k)
        chosen = inside * 2 > clusters.counts
        scores = inside / clusters.counts.clamp(min=1)
        foreground = Foreground.from_clusters(clusters, chosen, scores, "by the exact mask")
    else:
        foreground = covary.create("corner", corners="upper").select(clusters, image)
    if not foreground.found:
        return None
    return Case(image, summary, clusters, foreground, truth, share)


def exact(scene: Scene, parts: frozenset[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pixels are mostly of these parts, and how much of each is."""
    world = scene.world
    inks = torch.tensor([part in parts for part in world.inks.values()])
    labels = torch.tensor([part in parts for part in world.parts])
    share = scene.layout.weights[0, inks].float().sum(dim=0).clamp(0, 1)
    return labels[scene.truth.labels[0]], share


def grained(images: torch.Tensor, levels: float, seed: int) -> torch.Tensor:
    """Images with Gaussian noise of so many grey levels."""
    if not levels:
        return images
    draw = torch.Generator().manual_seed(seed)
    noise = levels * torch.randn(images.shape, generator=draw)
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


# --- shares ----------------------------------------------------------------------------------


def _distances(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances to the nearest foreground and background centre, float64 (N,)."""
    pixels, centers = case.summary.matrix().double(), case.clusters.centers.double()
    squared = torch.cdist(pixels, centers).square()
    chosen = case.foreground.clusters
    return squared[:, chosen].amin(dim=1), squared[:, ~chosen].amin(dim=1)


def _soft_kmeans(case: Case) -> torch.Tensor:
    inside, outside = _distances(case)
    variance = case.clusters.inertia / case.summary.data.numel()
    return torch.sigmoid((outside - inside) / (2 * variance)).reshape(case.summary.size).float()


def _fuzzy(case: Case) -> torch.Tensor:
    inside, outside = _distances(case)
    return (outside / (inside + outside)).reshape(case.summary.size).float()


SHARES: dict[str, Callable[[Case], torch.Tensor]] = {
    "hard mask": lambda case: case.foreground.mask.float(),
    "soft_mask": lambda case: covary.soft_mask(case.summary, case.clusters, case.foreground),
    "fuzzy c-means, m = 2": _fuzzy,
    "soft k-means": _soft_kmeans,
}
"""Ways to a soft mask; soft k-means with the clusters' own variance."""


def errors(found: torch.Tensor, exactly: torch.Tensor, share: torch.Tensor) -> dict[str, float]:
    """Mean absolute error of all pixels, and of those that are mixed."""
    difference = (found - exactly).abs()
    difference = difference.mean(dim=0) if difference.ndim == 3 else difference
    mixed = (share > 0.01) & (share < 0.99)
    return {"error": float(difference.mean()), "error_mixed": float(difference[mixed].mean())}


# --- refiners --------------------------------------------------------------------------------


def refined(case: Case, chain: Sequence[str]) -> dict[str, float]:
    """How good a mask is after these refiners, and whether it is better than the raw one."""
    soft = covary.soft_mask(case.summary, case.clusters, case.foreground)
    for name in chain:
        soft = covary.create(name, kind="refiner").refine(soft, case.image)
    mask = soft > 0.5 if chain else case.foreground.mask
    gain = iou(mask, case.truth) - iou(case.foreground.mask, case.truth)
    return {
        "miou": (iou(mask, case.truth) + iou(~mask, ~case.truth)) / 2,
        **errors(soft, case.share, case.share),
        "better": float(gain > 0.001),
        "worse": float(gain < -0.001),
    }


# --- composition -----------------------------------------------------------------------------

_Compose = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _plain(content: torch.Tensor, alpha: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
    return alpha * content + (1 - alpha) * onto


def _own_colours_in_light(content: torch.Tensor, soft: torch.Tensor, onto: torch.Tensor) -> Any:
    alpha = composition.border_only(soft, 1)
    colours = composition.content_colours(content, alpha, 2)
    return _coded(_plain(_light(colours), alpha, _light(onto)))


MIXTURES: dict[str, _Compose] = {
    "compose, soft mask": lambda c, mask, soft, onto: covary.compose(c, soft, onto),
    "compose, guided": lambda c, mask, soft, onto: covary.compose(
        c, covary.create("guided").refine(soft, c), onto
    ),
    "compose, hard mask": lambda c, mask, soft, onto: covary.compose(c, mask, onto),
    "compose, feather = 0.5": lambda c, mask, soft, onto: covary.compose(
        c, mask, onto, feather=0.5
    ),
    "soft mask at the border, old colours": lambda c, mask, soft, onto: _plain(
        c, composition.border_only(soft, 1), onto
    ),
    "soft mask everywhere, old colours": lambda c, mask, soft, onto: _plain(c, soft, onto),
    "as compose, mixed in linear light": lambda c, mask, soft, onto: _own_colours_in_light(
        c, soft, onto
    ),
}
"""Ways to put content (3, H, W) with a mask and a soft mask on another image."""


def composed(how: str, seed: int, scale: int = 4) -> Iterator[dict[str, dict[str, float]]]:
    """Errors by way of mixing, for a seed's avatar on a plain colour; none if none was found."""
    scene = worlds.get("avatars").scene(seed, (96 * scale, 96 * scale))
    images = scene.images(seed, 21)
    mask, share = exact(scene, scene.world.foreground)
    colour = torch.randint(0, 256, (3, 1, 1), generator=torch.Generator().manual_seed(seed))
    onto = colour.float().expand_as(images[0])
    exactly = _smaller(torch.where(mask, images[0].float(), onto), how, scale)
    small = torch.stack([_smaller(one.float(), how, scale) for one in images])
    small = small.round().to(torch.uint8)
    share = avg_pool2d(mask.float()[None], scale)[0]
    summary = StyleSummary.from_images(small[1:])
    case = judged(small[0], summary, seed, share > 0.5, share)
    if case is None:
        return
    soft = covary.soft_mask(summary, case.clusters, case.foreground)
    ground = _smaller(onto, how, scale).round().to(torch.uint8)
    yield {
        name: errors(mix(case.image, case.foreground.mask, soft, ground).float(), exactly, share)
        for name, mix in MIXTURES.items()
    }


def _smaller(image: torch.Tensor, how: str, scale: int) -> torch.Tensor:
    """Float32 (3, H, W) in 0..255, averaged over blocks of coded colours or of light."""
    if how == "coded":
        return avg_pool2d(image, scale)
    return _coded(avg_pool2d(_light(image), scale))


def _light(coded: torch.Tensor) -> torch.Tensor:
    """Linear light in 0..1 of sRGB in 0..255."""
    value = coded.float() / 255
    return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _coded(light: torch.Tensor) -> torch.Tensor:
    """SRGB in 0..255 of linear light in 0..1."""
    light = light.clamp(0, 1)
    return 255 * torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


# --- all -------------------------------------------------------------------------------------


def rows(
    group: str, measured: Mapping[str, Sequence[Mapping[str, float]]], missing: int
) -> list[dict[str, Any]]:
    """A row for each way: means over the cases, counts of what rose and fell."""
    found = []
    for name, values in measured.items():
        row: dict[str, Any] = {"what": group, "how": name, "cases": len(values)}
        row["without_foreground"] = missing
        for key in values[0]:
            total = [one[key] for one in values]
            row[key] = int(sum(total)) if key in ("better", "worse") else fmean(total)
        found.append(row)
    return found


def measure(seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """The rows of all parts."""
    parts: dict[str, list[dict[str, Any]]] = {"shares": [], "refiners": [], "composition": []}
    for what in ("avatars", "avatars, grain", "rooms", "rooms, grain"):
        by_share, by_chain, missing = defaultdict(list), defaultdict(list), 0
        for seed in seeds:
            for case in cases(what, seed):
                if case is None:
                    missing += 1
                    continue
                for name, share in SHARES.items():
                    by_share[name].append(errors(share(case), case.share, case.share))
                for name, chain in CHAINS.items():
                    by_chain[name].append(refined(case, chain))
        parts["shares"] += rows(what, by_share, missing)
        parts["refiners"] += rows(what, by_chain, missing)
    for how in ("coded", "light"):
        by_mixture, found = defaultdict(list), 0
        for seed in seeds:
            for measured in composed(how, seed):
                found += 1
                for name, value in measured.items():
                    by_mixture[name].append(value)
        parts["composition"] += rows(how, by_mixture, len(seeds) - found)
    return parts


def main(argv: list[str] | None = None) -> None:
    """Measure, print the tables and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--name", default="refine")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    parts = measure(range(args.first_seed, args.first_seed + args.seeds))
    for title, table in parts.items():
        print_table(title, table)
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.refine --seeds {args.seeds} "
        f"--first-seed {args.first_seed}",
        **parts,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
