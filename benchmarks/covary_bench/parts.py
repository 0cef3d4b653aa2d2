"""Named parts of rendered avatars against the exact ones: ``python -m covary_bench.parts``.

The preset ``worlds-parts``, and with other numbers of clusters. The names stand for the renderer's
parts so: background with its stripes; hair with the brows, which are painted in the hair's hue;
skin is head, neck and ears; clothes with the collar; eyes with irises and pupils; mouth with the
teeth. A pixel belongs to the part with the largest share of it. A part's IoU is taken in each
image, 0 where the name was not given, and averaged over images; ``missed`` counts those below 0.1.
The oracle gives each cluster the name of the part that most of its pixels belong to: what is lost
there is lost by the clusters.

Seeds start at 1000: the maps and k were chosen on smaller ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import covary
from covary.provenance import iou
from covary.testing import worlds

from .progress import progress
from .quality import ORACLE, K, number
from .report import print_table, seeds_parser, spread, write_results

__all__ = ["PARTS", "exact", "ious", "label_table", "named", "summarise_parts"]

_AVATARS = worlds.get("avatars")

PARTS: Mapping[str, frozenset[str]] = {
    "background": frozenset(_AVATARS.parts) - _AVATARS.foreground,
    **_AVATARS.classes,
}
"""What each name stands for in the avatars world."""

PRESET = "worlds-parts"
MISSED = 0.1
"""IoU below which a part counts as missed."""
_WORST = 5


def exact(seed: int, resolution: int) -> Tensor:
    """Index into `PARTS` of every pixel, int64 (H, W)."""
    world = worlds.get("avatars")
    labels = world.scene(seed, (resolution, resolution)).truth.labels[0]
    return label_table(world, PARTS)[labels]


def label_table(world: worlds.World, groups: Mapping[str, Collection[str]]) -> Tensor:
    """The group of each of a world's parts, int64 (parts,): index it by ``Truth.labels``."""
    owners = [next(i for i, own in enumerate(groups.values()) if p in own) for p in world.parts]
    return torch.tensor(owners)


def named(clusters: covary.ClusterMap, found: covary.Foreground, names: Sequence[str]) -> Tensor:
    """Index into ``names`` of every pixel, int64 (H, W); -1 for other names and none."""
    table = [names.index(name) if name in names else -1 for name in found.names]
    index: Tensor = torch.tensor(table)[clusters.labels.long()]
    return index


def majority(clusters: covary.ClusterMap, truth: Tensor) -> Tensor:
    """The part that most pixels of each pixel's cluster belong to, int64 (H, W)."""
    parts = int(truth.max()) + 1
    pairs = clusters.labels.long() * parts + truth
    counts = pairs.flatten().bincount(minlength=clusters.k * parts).unflatten(0, (-1, parts))
    index: Tensor = counts.argmax(dim=1)[clusters.labels.long()]
    return index


def ious(found: Tensor, truth: Tensor, names: Sequence[str]) -> dict[str, float]:
    """The IoU of each part."""
    return {name: iou(found == i, truth == i) for i, name in enumerate(names)}


def evaluate_seed(
    seed: int, resolution: int, variants: int, ks: Sequence[K]
) -> Iterator[tuple[tuple[K, str], dict[str, float]]]:
    """((k, rule or oracle), IoU of each part) for one seed."""
    truth = exact(seed, resolution)
    source = ("worlds", {"world": "avatars", "resolution": resolution, "n": variants})
    pipe = covary.Pipeline.preset(PRESET, device="cpu").replace(source=source)
    rule = pipe.foreground
    summary = pipe.summarise(seed=seed)
    image = torch.zeros(3, *summary.size, dtype=torch.uint8)  # the rule does not look at it
    for k in ks:
        clusters = covary.create("lloyd", k=k).fit(summary, covary.RunContext(seed=seed))
        parts = named(clusters, rule.select(clusters, image), list(PARTS))
        yield (k, "parts"), ious(parts, truth, list(PARTS))
        yield (k, ORACLE), ious(majority(clusters, truth), truth, list(PARTS))


def summarise_parts(found: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Means over seeds, the spread, what is missed, and the worst seeds."""
    means = {seed: sum(one.values()) / len(one) for seed, one in found.items()}
    by_part: dict[str, list[float]] = defaultdict(list)
    for one in found.values():
        for name, value in one.items():
            by_part[name].append(value)
    worst = sorted(means, key=means.__getitem__)[:_WORST]
    return {
        "seeds": len(found),
        "mean_iou": sum(means.values()) / len(means),
        "mean_iou_spread": spread(list(means.values())),
        "parts": {
            name: {
                "iou": sum(values) / len(values),
                "missed": sum(value < MISSED for value in values),
                "spread": spread(values),
            }
            for name, values in by_part.items()
        },
        "worst": {str(seed): means[seed] for seed in worst},
    }


def run(
    seeds: Sequence[int], resolution: int, variants: int, ks: Sequence[K]
) -> list[dict[str, Any]]:
    """A row for each k, by the rule and by the oracle."""
    found: dict[tuple[K, str], dict[int, dict[str, float]]] = defaultdict(dict)
    with progress(len(seeds)) as report:
        for done, seed in enumerate(seeds):
            report(f"seed {seed}", done)
            for key, values in evaluate_seed(seed, resolution, variants, ks):
                found[key][seed] = values
    return [{"k": k, "names": how, **summarise_parts(one)} for (k, how), one in found.items()]


def main() -> None:
    """Measure, print the table and write the results."""
    parser = seeds_parser(__doc__ or "", "worlds-parts", 256)
    parser.add_argument("--k", nargs="+", type=number, default=[6, 8, 10, 12])
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows = run(seeds, args.resolution, args.variants, args.k)
    print_table(
        f"parts of avatars at {args.resolution}x{args.resolution}, {args.variants} variants",
        [
            {"k": row["k"], "names": row["names"], "mean IoU": row["mean_iou"]}
            | {name: one["iou"] for name, one in row["parts"].items()}
            for row in rows
        ],
    )
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.parts --seeds {args.seeds} "
        f"--first-seed {args.first_seed} --resolution {args.resolution} "
        f"--variants {args.variants} --k {' '.join(map(str, args.k))}",
        "resolution": args.resolution,
        "variants": args.variants,
        "preset": covary.Pipeline.preset(PRESET).recipe.model_dump(mode="json"),
        "rows": rows,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
