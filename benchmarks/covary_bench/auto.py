"""How many clusters? One k for all rendered scenes against ``k = "auto"``: the worlds sheet.

``python -m covary_bench.auto``. The sheet is what the renderer draws: avatars, whole, and each of
the five kinds of object in rooms, in its exact box with a tenth added on each side. All of it is
LAB at 256x256 with the rule `border` at its default threshold: upper sides for avatars, all sides
in boxes. Only k differs. mIoU is the mean of the IoU of foreground and background, in the exact box
for objects; "none found" counts as an empty mask. A row's ``sheet`` is the mean of the avatars and
of the mean over the kinds of object, so that both worlds weigh the same. ``chosen`` counts the
numbers of clusters.

``cost`` is the time of a fit on avatars, `auto` and fixed k by turns on the same summary, as
seconds and as a multiple of that of k = 4 on it.

Seeds start at 1000: smaller ones were looked at while the defaults of `lloyd` were chosen.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

import covary
from covary.testing import worlds

from .progress import progress
from .quality import K, Score, number, score
from .report import print_table, seeds_parser, spread, write_results
from .rooms import Room, surrounded

__all__ = ["AVATARS", "Thing", "judge", "things"]

AVATARS = "avatars"
_EXPAND = 0.1
_COSTED: tuple[K, ...] = (4, 8, "auto")


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """Something of the sheet to be segmented."""

    name: str
    summary: covary.StyleSummary
    """Of its pixels and, in rooms, those around it."""
    inner: covary.Box
    """The part of them that is scored."""
    truth: Tensor
    """bool, the exact mask of ``inner``."""


def things(seed: int, resolution: int, variants: int) -> Iterator[Thing]:
    """The avatar and the objects of the room of a seed."""
    yield avatar(seed, resolution, variants)
    room = Room.of(seed, resolution, variants, ("lab",))
    for label, box in room.boxes.items():
        around = surrounded(box, _EXPAND, (resolution, resolution))
        inner = covary.Box(
            box.x0 - around.x0, box.y0 - around.y0, box.x1 - around.x0, box.y1 - around.y0
        )
        summary = room.summaries["lab"].crop(around)
        yield Thing(label, summary, inner, room.masks[label][box.slices])


def avatar(seed: int, resolution: int, variants: int) -> Thing:
    """The avatar of a seed."""
    source = ("worlds", {"world": "avatars", "resolution": resolution, "n": variants})
    summary = covary.Pipeline(source, "lab", "lloyd", "border", device="cpu").summarise(seed=seed)
    truth = worlds.get("avatars").scene(seed, (resolution, resolution)).truth.foreground[0]
    return Thing(AVATARS, summary, covary.Box(0, 0, resolution, resolution), truth)


def judge(thing: Thing, k: K, seed: int) -> tuple[Score, int]:
    """The score of a thing, and the number of its clusters."""
    clusters = covary.create("lloyd", k=k).fit(thing.summary, covary.RunContext(seed=seed))
    sides = "upper" if thing.name == AVATARS else "all"
    rule = covary.create("border", kind="foreground", sides=sides)
    image = torch.zeros(3, *clusters.size, dtype=torch.uint8)  # the rule does not look at it
    found = rule.select(clusters, image)
    return score(found.mask[thing.inner.slices], thing.truth, found.found), clusters.k


def run(
    seeds: Sequence[int], resolution: int, variants: int, ks: Sequence[K]
) -> list[dict[str, Any]]:
    """A row for each k."""
    scores: dict[K, dict[str, dict[int, float]]] = {k: defaultdict(dict) for k in ks}
    chosen: dict[K, dict[str, Counter[int]]] = {k: defaultdict(Counter) for k in ks}
    with progress(len(seeds)) as report:
        for done, seed in enumerate(seeds):
            report(f"seed {seed}", done)
            for thing in things(seed, resolution, variants):
                for k in ks:
                    found, clusters = judge(thing, k, seed)
                    scores[k][thing.name][seed] = found.miou
                    chosen[k][thing.name][clusters] += 1
    return [{"k": k, **_row(scores[k], chosen[k])} for k in ks]


def _row(
    scores: Mapping[str, Mapping[int, float]], chosen: Mapping[str, Counter[int]]
) -> dict[str, Any]:
    by_thing = {name: fmean(found.values()) for name, found in scores.items()}
    objects = [value for name, value in by_thing.items() if name != AVATARS]
    return {
        "sheet": (by_thing[AVATARS] + fmean(objects)) / 2,
        "objects": fmean(objects),
        "things": {
            name: {
                "seeds": len(found),
                "miou": by_thing[name],
                "spread": spread(list(found.values())),
                "chosen": {str(k): chosen[name][k] for k in sorted(chosen[name])},
            }
            for name, found in scores.items()
        },
    }


def costs(seeds: Sequence[int], resolution: int, variants: int) -> list[dict[str, Any]]:
    """How long a fit of an avatar takes, and how much longer than with k = 4."""
    seconds: dict[K, list[float]] = {k: [] for k in _COSTED}
    covary.create("lloyd").fit(avatar(seeds[0], resolution, variants).summary)  # compiles
    for seed in seeds:
        summary = avatar(seed, resolution, variants).summary
        for k in _COSTED:
            clusterer = covary.create("lloyd", k=k)
            started = time.perf_counter()
            clusterer.fit(summary, covary.RunContext(seed=seed))
            seconds[k].append(time.perf_counter() - started)
    return [
        {
            "k": k,
            "seconds": spread(taken),
            "times_k_4": spread([a / b for a, b in zip(taken, seconds[4], strict=True)]),
        }
        for k, taken in seconds.items()
    ]


def main() -> None:
    """Measure, print the table and write the results."""
    parser = seeds_parser(__doc__ or "", "worlds-auto", 256)
    parser.add_argument("--k", nargs="+", type=number, default=[2, 3, 4, 5, 6, 7, 8, "auto"])
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows = run(seeds, args.resolution, args.variants, args.k)
    print_table(
        f"the worlds sheet at {args.resolution}x{args.resolution}, {args.variants} variants",
        [
            {"k": row["k"], "sheet": row["sheet"]}
            | {name: one["miou"] for name, one in row["things"].items()}
            for row in rows
        ],
    )
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.auto --seeds {args.seeds} "
        f"--first-seed {args.first_seed} --resolution {args.resolution} "
        f"--variants {args.variants} --k {' '.join(map(str, args.k))}",
        "resolution": args.resolution,
        "variants": args.variants,
        "rows": rows,
        "cost": costs(seeds[:20], args.resolution, args.variants),
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
