"""Is style mixing real? ``python -m covary_bench.avatars.check`` measures the bundled generator.

For every cutoff c: how well the person keeps its outline among variants of one structure, how far
the colours of hair, skin, clothes and background move, and whether they move independently. A
small segmentation network trained on rendered avatars is the judge; its own skill is reported.
The renderer, whose mixing is perfect, is measured the same way for comparison. Last, the masks that
covary finds (50 variants, LAB) are held against the network's, for several c, k and rules, and the
parts of the preset ``avatars-parts`` against its regions; eyes and mouth are skin to it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from kornia.color import rgb_to_lab
from torch import Tensor

import covary
from covary.testing import worlds
from covary_bench.avatars.data import REGIONS
from covary_bench.avatars.export import WEIGHTS
from covary_bench.avatars.segmenter import Segmenter, mask_iou, train_segmenter
from covary_bench.parts import ious, named, summarise_parts
from covary_bench.quality import K, Score, judge, summarise
from covary_bench.report import RESULTS, write_results
from covary_plugins.stylegan2 import Generator, load_generator, to_uint8

__all__ = ["check", "main", "masks", "measure", "parts"]

_MIN_PIXELS = 12  # a region smaller than this in X_0 says little about its colour


def measure(stacks: Tensor, segmenter: Segmenter) -> dict[str, Any]:
    """Structure kept and colours moved, over stacks uint8 (S, 1 + n, 3, H, W) with X_0 first.

    Returns:
        ``iou``: mean IoU of the person between X_0 and its variants. ``colour_change``: for each
        region the mean CIE76 distance of its mean colour from that in X_0. ``correlation``: the
        regions' absolute Pearson correlation over variants, the mean of L*, a* and b*, in the
        order of ``regions``; None where nothing moves or a region is missing everywhere.
    """
    count, per = stacks.shape[:2]
    regions = segmenter.regions(stacks.flatten(0, 1)).unflatten(0, (count, per))
    person = regions > 0
    ious = [mask_iou(p[1:], p[:1]) for p in person]
    lab = rgb_to_lab(stacks.flatten(0, 1).float() / 255).unflatten(0, (count, per))
    masks = torch.stack([regions[:, 0] == i for i in range(len(REGIONS))], dim=1)
    area = masks.sum(dim=(2, 3))
    # Mean colour of each region of X_0, at the same pixels in every variant: (S, 1 + n, R, 3).
    sums = torch.einsum("srhw,snchw->snrc", masks.double(), lab.double())
    colours = sums / area.clamp_min(1)[:, None, :, None]
    change = (colours[:, 1:] - colours[:, :1]).norm(dim=3).mean(dim=1)
    seen = area >= _MIN_PIXELS
    return {
        "iou": round(sum(ious) / len(ious), 4),
        "colour_change": {
            name: round(float(change[seen[:, i], i].mean()), 2) if seen[:, i].any() else None
            for i, name in enumerate(REGIONS)
        },
        "regions": list(REGIONS),
        "correlation": _correlation(colours[seen.all(dim=1)][:, 1:]),
    }


def _correlation(colours: Tensor) -> list[list[float]] | None:
    """Of colours (S, n, R, 3), each structure's mean removed; (R, R) averaged over channels."""
    if len(colours) == 0:
        return None
    x = (colours - colours.mean(dim=1, keepdim=True)).flatten(0, 1)  # (S * n, R, 3)
    if float(x.abs().max()) < 1e-6:
        return None
    x = x / x.square().sum(dim=0).sqrt().clamp_min(1e-9)
    matrix = torch.einsum("kic,kjc->cij", x, x).abs().mean(dim=0)
    return [[round(float(v), 3) for v in row] for row in matrix]


@torch.inference_mode()
def generated_stacks(
    generator: Generator, c: int, *, structures: int, variants: int, psi: float, seed: int
) -> Tensor:
    """X_0 and its variants for each structure: uint8 (S, 1 + n, 3, H, W)."""
    device = generator.mapping.w_avg.device
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(structures * (1 + variants), generator.z_dim, generator=random).to(device)
    ws = generator.mapping(z, psi).unflatten(0, (structures, 1 + variants))
    stacks = []
    for codes in ws:
        mixed = generator.style_mix(codes[:1], codes[1:], c)
        prefix = generator.prefix(codes[:1], c)
        images = generator.synthesis(torch.cat([codes[:1], mixed]), prefix=prefix)
        stacks.append(to_uint8(images))
    return torch.stack(stacks)


def rendered_stacks(*, structures: int, variants: int, seed: int) -> Tensor:
    """The same from the renderer: exactly one structure, independent appearances."""
    world = worlds.get("avatars")
    scenes = [world.scene(seed + i, (64, 64)) for i in range(structures)]
    return torch.stack([s.images(seed + i, 1 + variants) for i, s in enumerate(scenes)])


def masks(
    weights: Path,
    segmenter: Segmenter,
    *,
    seeds: range,
    psi: float,
    cutoffs: range,
    ks: Sequence[K],
) -> list[dict[str, Any]]:
    """covary's masks against the segmenter's on X_0: a row for each c, k and rule."""
    segmenter = segmenter.cpu()
    scores: dict[tuple[int, K, str], list[Score]] = defaultdict(list)
    for c in cutoffs:
        source = ("stylegan2", {"checkpoint": str(weights), "c": c, "psi": psi})
        pipe = covary.Pipeline(source, "lab", "lloyd", "corner", device="cpu")
        for seed in seeds:
            image = pipe.source.open(covary.Query(seed=seed), covary.RunContext()).image
            truth = segmenter.regions(image[None])[0] > 0
            summary = pipe.summarise(seed=seed)
            for k in ks:
                clusters = covary.create("lloyd", k=k).fit(summary, covary.RunContext(seed=seed))
                for rule, found in judge(clusters, truth):
                    scores[c, k, rule].append(found)
    return [
        {"c": c, "k": k, "rule": rule, **summarise(found)} for (c, k, rule), found in scores.items()
    ]


def parts(segmenter: Segmenter, seeds: range) -> dict[str, Any]:
    """The preset's parts against the segmenter's regions: the IoU of each."""
    segmenter = segmenter.cpu()
    pipe = covary.Pipeline.preset("avatars-parts", device="cpu")
    names = list(REGIONS)
    found = {}
    for seed in seeds:
        seg = pipe(seed=seed)
        region = seg.regions[0]
        given = ["skin" if name in ("eyes", "mouth") else name for name in region.foreground.names]
        here = named(region.clusters, replace(region.foreground, names=tuple(given)), names)
        found[seed] = ious(here, segmenter.regions(seg.image[None])[0], names)
    return {"k": pipe.recipe.clusterer.params["k"], **summarise_parts(found)}


def check(
    weights: Path,
    *,
    structures: int = 24,
    variants: int = 12,
    psi: float = 0.8,
    steps: int = 400,
    images: int = 4000,
    seed: int = 0,
    mask_seeds: int = 200,
) -> dict[str, Any]:
    """The whole report, ready for JSON."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = load_generator(weights).to(device)
    started = time.monotonic()
    segmenter, skill = train_segmenter(steps=steps, count=images, seed=seed, device=device)
    rendered = rendered_stacks(structures=structures, variants=variants, seed=seed + 5000)
    report: dict[str, Any] = {
        "structures": structures,
        "variants": variants,
        "psi": psi,
        "seed": seed,
        "segmenter": {"steps": steps, "images": images, **asdict(skill)},
        "renderer": measure(rendered.to(device), segmenter),
        "cutoffs": {},
    }
    for c in range(generator.num_ws + 1):
        stacks = generated_stacks(
            generator, c, structures=structures, variants=variants, psi=psi, seed=seed
        )
        report["cutoffs"][str(c)] = measure(stacks, segmenter)
    # Seeds below 1000 were looked at while the preset was chosen.
    seeds = range(1000, 1000 + mask_seeds)
    report["masks"] = masks(
        weights, segmenter, seeds=seeds, psi=psi, cutoffs=range(2, 7), ks=(3, 4, 5, 6, 8, "auto")
    )
    report["parts"] = parts(segmenter, seeds)
    report["seconds"] = round(time.monotonic() - started, 1)
    return report


def table(report: dict[str, Any]) -> str:
    """The report as a short Markdown table."""
    lines = [
        "| c | person IoU | "
        + " | ".join(f"change {name}" for name in REGIONS)
        + " | largest correlation |",
        "|---|---|" + "---|" * (len(REGIONS) + 1),
    ]
    for name, row in [*report["cutoffs"].items(), ("renderer", report["renderer"])]:
        moved = [row["colour_change"][region] for region in REGIONS]
        changes = " | ".join("-" if value is None else f"{value:.1f}" for value in moved)
        matrix = row["correlation"]
        largest = "-"
        if matrix:
            size = range(len(matrix))
            largest = f"{max(matrix[i][j] for i in size for j in size if i != j):.2f}"
        lines.append(f"| {name} | {row['iou']:.3f} | {changes} | {largest} |")
    skill = report["segmenter"]
    lines.append(
        f"\nSegmenter on held-out renders: accuracy {skill['accuracy']:.3f}, "
        f"person IoU {skill['person_iou']:.3f}. Colour change is CIE76."
    )
    lines += ["", "| c | k | rule | mIoU | found |", "|---|---|---|---|---|"]
    best = sorted(report["masks"], key=lambda row: -row["miou"])[:12]
    lines += [
        f"| {row['c']} | {row['k']} | {row['rule']} | {row['miou']:.3f} | {row['found']} |"
        for row in best
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line of the check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="generator to measure")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--mask-seeds", type=int, default=200)
    parser.add_argument("--structures", type=int, default=24)
    parser.add_argument("--variants", type=int, default=12)
    parser.add_argument("--psi", type=float, default=0.8)
    parser.add_argument("--steps", type=int, default=400, help="training steps of the segmenter")
    parser.add_argument("--images", type=int, default=4000, help="rendered images it learns from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    options = ("structures", "variants", "psi", "steps", "images", "seed", "mask_seeds")
    report = check(args.weights, **{name: getattr(args, name) for name in options})
    flags = " ".join(f"--{name.replace('_', '-')} {getattr(args, name)}" for name in options)
    command = f"python -m covary_bench.avatars.check {flags}"
    data = {"method": __doc__, "command": command, **report}
    print(write_results("avatars-generator", data, args.out))
    print(table(report))


if __name__ == "__main__":
    main()
