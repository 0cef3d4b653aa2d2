"""Objects of rendered rooms in exact boxes, against exact masks: ``python -m covary_bench.rooms``.

The detector is the renderer, so that boxes cost nothing and what is measured is the work inside
them. Every object that a room shows is an instance; cushions belong to the sofa, and pixels hidden
by another object belong to that one. Variants are drawn once a seed.

``settings``: every class by the preset ``rooms``, and with one thing changed. The mask is cut to
the exact box; mIoU is the mean of the IoU of the object and of the rest of that box. Nothing found
counts as an empty mask. The oracle chooses every cluster that lies mostly inside the exact mask.
``low`` counts the seeds whose mIoU is below 0.9, and ``low_by_clusters`` those of them that the
oracle would not have saved: there the clusters mix the object with something else.

``instances``: whole results, by the preset and by its common stages alone (``one for all``). The
IoU of each instance is taken over the whole image, from its own mask (``alone``) and again after
overlaps were resolved: the smaller box wins. ``miou`` is that of the resolved mask inside the exact
box.

Seeds start at 1000: smaller ones were looked at while the preset's parameters were chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

import covary
from covary.provenance import iou
from covary.recipe import Spec
from covary.testing import worlds

from .progress import progress
from .quality import ORACLE, Score, oracle, score, summarise
from .report import print_table, seeds_parser, spread, write_results

__all__ = ["PRESET", "Room", "Setting", "of_preset", "settings"]

PRESET = "as preset"
LOW = 0.9
"""mIoU below which a mask counts as failed."""
_WORST = 5


@dataclass(frozen=True, slots=True)
class Setting:
    """How the objects of a class are segmented inside their boxes."""

    what: str
    features: Spec
    clusterer: Spec
    foreground: Spec
    expand: float
    """Share of the box's sides that is added around it."""

    def with_k(self, k: int) -> Setting:
        """The same with another number of clusters."""
        clusterer = Spec.parse((self.clusterer.use, {**self.clusterer.params, "k": k}))
        return replace(self, what=f"k = {k}", clusterer=clusterer)

    @property
    def k(self) -> int | str:
        """Number of clusters."""
        return cast("int | str", self.clusterer.params["k"])

    def row(self) -> dict[str, Any]:
        """What it is, for a table."""
        parts = {name: getattr(self, name).use for name in ("features", "clusterer", "foreground")}
        short = {name: use.removeprefix("covary/") for name, use in parts.items()}
        return {"setting": self.what, **short, "k": self.k, "expand": self.expand}


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """The exact masks and boxes of one seed, and its style summaries."""

    seed: int
    boxes: Mapping[str, covary.Box]
    """By label."""
    masks: Mapping[str, Tensor]
    """bool (H, W), by label: the visible pixels."""
    summaries: Mapping[str, covary.StyleSummary]
    """By name of the feature space."""

    @classmethod
    def of(cls, seed: int, resolution: int, variants: int, spaces: Sequence[str]) -> Room:
        """The room of a seed."""
        masks, boxes = exact(seed, resolution)
        source = ("worlds", {"world": "rooms", "resolution": resolution, "n": variants})
        made = {
            space: covary.Pipeline(source, space, "lloyd", "corner", device="cpu").summarise(
                seed=seed
            )
            for space in spaces
        }
        return cls(seed, boxes, masks, made)

    def judge(self, label: str, setting: Setting) -> tuple[Score, Score]:
        """How the object of a class comes out, and how the oracle would have chosen."""
        chosen, best, found = self.segment(label, setting)
        truth = self.masks[label][self.boxes[label].slices]
        return score(chosen, truth, found), score(best, truth)

    def segment(self, label: str, setting: Setting) -> tuple[Tensor, Tensor, bool]:
        """The mask of an object in its exact box, the oracle's, and whether it was found."""
        tight = self.boxes[label]
        box = surrounded(tight, setting.expand, next(iter(self.masks.values())).shape)
        ctx = covary.RunContext(seed=self.seed)
        clusterer = cast(covary.Clusterer, setting.clusterer.create("clusterer"))
        part = self.summaries[setting.features.use.removeprefix("covary/")].crop(box)
        clusters = clusterer.fit(part, ctx.at("clusterer", clusterer.id))
        rule = cast(covary.ForegroundRule, setting.foreground.create("foreground"))
        image = torch.zeros(3, *clusters.size, dtype=torch.uint8)  # no rule here looks at it
        chosen = rule.select(clusters, image, ctx.at("foreground", rule.id))
        best = oracle(clusters, self.masks[label][box.slices])
        inner = covary.Box(
            tight.x0 - box.x0, tight.y0 - box.y0, tight.x1 - box.x0, tight.y1 - box.y0
        ).slices
        return chosen.mask[inner], best[inner], chosen.found


def exact(seed: int, resolution: int) -> tuple[dict[str, Tensor], dict[str, covary.Box]]:
    """The visible pixels, bool (H, W), and the tight box of every object of a room, by label."""
    world = worlds.get("rooms")
    truth = world.scene(seed, (resolution, resolution)).truth
    masks = {
        name: torch.tensor([part in members for part in world.parts])[truth.labels[0]]
        for name, members in world.objects.items()
    }
    boxes = {name: covary.Box(*corners) for name, *corners in truth.boxes[0]}
    return masks, boxes


def surrounded(box: covary.Box, share: float, size: Sequence[int]) -> covary.Box:
    """The box as a detector with ``expand`` gives it, in an image (H, W)."""
    given = {"boxes": [box.corners], "expand": share}
    detector = cast(covary.Detector, covary.create("file", kind="detector", **given))
    return detector.detect(torch.zeros(3, *size, dtype=torch.uint8))[0].box


def of_preset(label: str) -> Setting:
    """What the preset ``rooms`` does with a class."""
    recipe = covary.Pipeline.preset("rooms").recipe
    own = recipe.classes.get(label)
    parts = {
        slot: (own and getattr(own, slot)) or getattr(recipe, slot)
        for slot in ("features", "clusterer", "foreground")
    }
    expand = recipe.detector.params["expand"] if recipe.detector else 0.0
    return Setting(PRESET, expand=expand, **parts)


def settings(label: str) -> list[Setting]:
    """The preset's setting of a class, the same with one thing changed, and the paper's."""
    first = of_preset(label)
    k = int(first.k)
    other = "lloyd" if first.clusterer.use == "covary/spherical" else "spherical"
    changed = [
        replace(first, what="the box itself", expand=0.0),
        replace(first, what="twice the surroundings", expand=2 * first.expand),
        replace(first, what="saliency", foreground=Spec.parse("saliency")),
        replace(first, what="corner", foreground=Spec.parse(("corner", {"corners": "all"}))),
        replace(first, what="RGB", features=Spec.parse("rgb")),
        replace(first, what=other, clusterer=Spec.parse((other, {"k": k}))),
        *(first.with_k(some) for some in sorted({k - 1, k + 1, 8})),
        replace(first, what="lloyd, k = auto", clusterer=Spec.parse(("lloyd", {"k": "auto"}))),
        Setting(
            what="preset deeprooms, in boxes",
            features=Spec.parse("rgb"),
            clusterer=Spec.parse(("lloyd", {"k": 2})),
            foreground=Spec.parse(("corner", {"corners": "all"})),
            expand=0.0,
        ),
    ]
    return [first, *(one for one in changed if _numbers(one) != _numbers(first))]


def _numbers(setting: Setting) -> dict[str, Any]:
    return {key: value for key, value in setting.row().items() if key != "setting"}


def evaluate(
    seeds: Sequence[int], resolution: int, variants: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of ``settings`` and of ``instances``."""
    wanted = {label: settings(label) for label in worlds.get("rooms").objects}
    inside: dict[tuple[str, str], dict[int, tuple[Score, Score]]] = defaultdict(dict)
    whole: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    pipes = pipelines(resolution, variants)
    with progress(len(seeds)) as report:
        for done, seed in enumerate(seeds):
            report(f"seed {seed}", done)
            room = Room.of(seed, resolution, variants, ("lab", "rgb"))
            for label in room.boxes:
                for setting in wanted[label]:
                    inside[label, setting.what][seed] = room.judge(label, setting)
            for what, pipe in pipes.items():
                for label, figures in instances(pipe, seed, resolution):
                    whole[label, what].append({"seed": seed, **figures})
    rows = [
        {"object": label, **setting.row(), **_summary(inside[label, setting.what])}
        for label, some in wanted.items()
        for setting in some
    ]
    return rows, [
        {"object": label, "setting": what, **_instances(found)}
        for (label, what), found in whole.items()
    ]


def pipelines(resolution: int, variants: int) -> dict[str, covary.Pipeline]:
    """The preset, and the same stages for all classes."""
    source = ("worlds", {"world": "rooms", "resolution": resolution, "n": variants})
    preset = covary.Pipeline.preset("rooms", device="cpu").replace(source=source)
    return {PRESET: preset, "one for all": preset.replace(classes=None)}


def instances(
    pipe: covary.Pipeline, seed: int, resolution: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """(label, its figures) of every object in the result of a seed."""
    found = pipe(seed=seed)
    masks, boxes = exact(seed, resolution)
    for region, one in zip(found.regions, found.objects, strict=True):
        alone = torch.zeros(found.size, dtype=torch.bool)
        alone[region.box.slices] = region.mask
        truth, tight = masks[region.label], boxes[region.label].slices
        yield (
            region.label,
            {
                "alone": iou(alone, truth),
                "resolved": iou(one.mask, truth),
                "miou": score(one.mask[tight], truth[tight]).miou,
            },
        )


def _summary(scores: Mapping[int, tuple[Score, Score]]) -> dict[str, Any]:
    """Means, spread and the worst seeds."""
    by_rule = {seed: chosen for seed, (chosen, _) in scores.items()}
    by_oracle = {seed: best for seed, (_, best) in scores.items()}
    low = [seed for seed, one in by_rule.items() if one.miou < LOW]
    worst = sorted(by_rule, key=lambda seed: by_rule[seed].miou)[:_WORST]
    return {
        **summarise(list(by_rule.values())),
        ORACLE: summarise(list(by_oracle.values()))["miou"],
        "low": len(low),
        "low_by_clusters": sum(by_oracle[seed].miou < LOW for seed in low),
        "worst": {str(seed): by_rule[seed].miou for seed in worst},
    }


def _instances(found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    row: dict[str, Any] = {"seeds": len(found)}
    for how in ("alone", "resolved", "miou"):
        values = [one[how] for one in found]
        row[how] = sum(values) / len(values)
        row[f"{how}_spread"] = spread(values)
    worst = sorted(found, key=lambda one: one["resolved"])[:_WORST]
    return {**row, "worst": {str(int(one["seed"])): one["resolved"] for one in worst}}


def main() -> None:
    """Measure, print the tables and write the results."""
    parser = seeds_parser(__doc__ or "", "rooms", 256)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    rows, whole = evaluate(seeds, args.resolution, args.variants)
    columns = ("object", "setting", "k", "seeds", "found", "miou", "iou_foreground", ORACLE, "low")
    print_table(
        f"rooms at {args.resolution}x{args.resolution}, {args.variants} variants",
        [{column: row[column] for column in columns} for row in rows],
    )
    figures = ("object", "setting", "seeds", "alone", "resolved", "miou")
    print_table(
        "instances, IoU over the whole image",
        [{key: row[key] for key in figures} for row in whole],
    )
    data = {
        "method": __doc__,
        "command": f"python -m covary_bench.rooms --seeds {args.seeds} "
        f"--first-seed {args.first_seed} --resolution {args.resolution} "
        f"--variants {args.variants}",
        "resolution": args.resolution,
        "variants": args.variants,
        "preset": covary.Pipeline.preset("rooms").recipe.model_dump(mode="json"),
        "settings": rows,
        "instances": whole,
    }
    print(write_results(args.name, data, args.out))


if __name__ == "__main__":
    main()
