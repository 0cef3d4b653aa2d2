"""Masks of rendered scenes against the exact ones: ``python -m covary_bench.quality``.

For every seed the variants are drawn once, and clustered for every colour space and k, of which
``auto`` lets `lloyd` choose for each image; every foreground rule then judges the same clusters.
Seeds start at 1000: smaller ones were looked at while the renderer and the rules' defaults were
chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

import covary
from covary.provenance import iou
from covary.testing import worlds

from .report import print_table, seeds_parser, spread, write_results

RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "border, upper": ("border", {"sides": "upper"}),
    "border, all": ("border", {"sides": "all"}),
    "corner, upper": ("corner", {"corners": "upper"}),
    "corner, all": ("corner", {"corners": "all"}),
    "saliency": ("saliency", {}),
    "vote": (
        "vote",
        {"rules": [("border", {"sides": "upper"}), ("corner", {"corners": "upper"}), "saliency"]},
    ),
}
ORACLE = "oracle"
"""Chooses each cluster that lies mostly inside the exact mask: the best any rule could do."""

K = int | Literal["auto"]
"""A number of clusters, or the choice of `lloyd`."""


@dataclass(frozen=True, slots=True)
class Score:
    """One mask against the exact one."""

    found: bool
    foreground: float
    """IoU of the foreground."""
    background: float
    """IoU of the background."""

    @property
    def miou(self) -> float:
        """Mean of the two."""
        return (self.foreground + self.background) / 2


def score(mask: torch.Tensor, truth: torch.Tensor, found: bool = True) -> Score:
    """How a mask compares; "none found" scores as an empty mask."""
    return Score(found, iou(mask, truth), iou(~mask, ~truth))


def judge(clusters: covary.ClusterMap, truth: torch.Tensor) -> Iterator[tuple[str, Score]]:
    """(rule, score) of every rule, and of the oracle, on the same clusters."""
    yield ORACLE, score(oracle(clusters, truth), truth)
    image = torch.zeros(3, *clusters.size, dtype=torch.uint8)  # none of these rules looks at it
    for name, (rule, params) in RULES.items():
        chosen = covary.create(rule, kind="foreground", **params).select(clusters, image)
        yield name, score(chosen.mask, truth, chosen.found)


def oracle(clusters: covary.ClusterMap, truth: torch.Tensor) -> torch.Tensor:
    """The union of the clusters that lie mostly inside ``truth``, bool (H, W)."""
    labels = clusters.labels.long()
    inside = torch.bincount(labels[truth], minlength=clusters.k)
    return (inside * 2 > clusters.counts)[labels]


def evaluate_seed(
    seed: int, resolution: int, variants: int, spaces: Sequence[str], ks: Sequence[K]
) -> Iterator[tuple[tuple[str, K, str], Score]]:
    """((space, k, rule), score) of every combination for one seed."""
    truth = worlds.get("avatars").scene(seed, (resolution, resolution)).truth.foreground[0]
    source = ("worlds", {"resolution": resolution, "n": variants})
    for space in spaces:
        pipe = covary.Pipeline(source, space, "lloyd", "corner", device="cpu")
        summary = pipe.summarise(seed=seed)
        for k in ks:
            clusters = covary.create("lloyd", k=k).fit(summary, covary.RunContext(seed=seed))
            for rule, found in judge(clusters, truth):
                yield (space, k, rule), found


def summarise(scores: Sequence[Score]) -> dict[str, Any]:
    """Means over all seeds, and over those with a confident foreground, as the paper counts."""
    confident = [s for s in scores if s.found]
    return {
        "seeds": len(scores),
        "found": len(confident),
        "miou": _mean([s.miou for s in scores]),
        "miou_found": _mean([s.miou for s in confident]) if confident else None,
        "iou_foreground": _mean([s.foreground for s in scores]),
        "iou_background": _mean([s.background for s in scores]),
        "miou_spread": spread([s.miou for s in scores]),
    }


def run(
    seeds: Sequence[int], resolution: int, variants: int, spaces: Sequence[str], ks: Sequence[K]
) -> list[dict[str, Any]]:
    """One row for each combination of colour space, k and rule."""
    scores: dict[tuple[str, K, str], list[Score]] = defaultdict(list)
    for seed in seeds:
        for key, value in evaluate_seed(seed, resolution, variants, spaces, ks):
            scores[key].append(value)
    return [
        {"space": space, "k": k, "rule": rule, **summarise(values)}
        for (space, k, rule), values in scores.items()
    ]


def main() -> None:
    """Measure, print the table and write the results."""
    parser = seeds_parser(__doc__ or "", "worlds-avatars", 64)
    parser.add_argument("--spaces", nargs="+", default=["lab", "rgb"])
    parser.add_argument("--k", nargs="+", type=number, default=[2, 3, 4, 6, 8, "auto"])
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows = run(seeds, args.resolution, args.variants, args.spaces, args.k)
    columns = ("space", "k", "rule", "seeds", "found", "miou", "miou_found", "iou_foreground")
    print_table(
        f"worlds avatars at {args.resolution}x{args.resolution}, {args.variants} variants",
        [{column: row[column] for column in columns} for row in rows],
    )
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.quality --seeds {args.seeds} "
        f"--first-seed {args.first_seed} --resolution {args.resolution} "
        f"--variants {args.variants}",
        "rows": rows,
    }
    print(write_results(args.name, data, args.out))


def number(text: str) -> K:
    """A number of clusters from the command line."""
    return "auto" if text == "auto" else int(text)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
