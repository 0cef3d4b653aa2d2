"""The cutoff c, the colour space, the number of clusters k and the rule, in every combination.

Stands for the paper's Table 4, on images of the bundled generator. The variants of a seed are drawn
once for each c, and clustered in every colour space for every k; every rule then judges the same
clusters. A network says where the person is; its own skill on rendered avatars stands beside. The
oracle chooses each cluster that lies mostly inside the judge's mask: what it loses, the clusters
lose. The rules are those of covary's defaults for portraits: `corner` with the upper corners,
`border` with the upper sides, and `saliency` with its default map, a Gaussian around the middle.

`highlights` are rendered scenes with light and shade some four times as strong as usual, from
another side in every variant, against exact masks: the person by the rule `corner`, and the hair,
on which the light falls most, by the oracle, which judges the clusters alone; k = 4.

`differences` are means of paired differences over the seeds, with 95 % intervals; of cutoffs, the
best in the middle over the best of the others. Seeds start at 1000: smaller ones were used while
the preset was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import covary
from covary.testing.worlds.avatars import Avatars

from ..limits import scenes
from ..limits.outcome import UPPER, from_stack
from ..quality import ORACLE, RULES, oracle, score
from ..report import spread
from .claims import middle_third
from .figures import difference
from .pictures import Row, save_rows, shown
from .reference import Reference
from .study import Study

__all__ = ["HIGHLIGHTS", "Grid", "highlights", "run"]

_RULES = {"corner": "corner, upper", "saliency": "saliency", "border": "border, upper"}
_SIDE = 64
_TILE = 64
_SHOWN_K = (2, 4, 10)


@dataclass(frozen=True, slots=True)
class Grid:
    """What is combined."""

    pipe: covary.Pipeline
    """Its source, whose parameter ``c`` is changed."""
    cutoffs: Sequence[int]
    spaces: Sequence[str]
    ks: Sequence[int]

    def __post_init__(self) -> None:
        if "c" not in type(self.pipe.source).Params.model_fields:
            raise covary.InputError(
                "table4",
                expected="a preset whose source has a cutoff c",
                got=self.pipe.source.id,
                fix="choose one of a StyleGAN2 generator",
            )

    def source(self, c: int) -> covary.Pipeline:
        """The pipeline with another cutoff."""
        spec = self.pipe.recipe.source
        return self.pipe.replace(source=(spec.use, {**spec.params, "c": c}))

    def measure(self, seed: int, reference: Reference) -> dict[str, list[Any]]:
        """(found, IoU of the foreground, of the background) by ``c/space/k/rule``."""
        figures: dict[str, list[Any]] = {}
        for c in self.cutoffs:
            image, variants = drawn(self.source(c), seed)
            truth = reference.mask(image)
            for space in self.spaces:
                summary = covary.StyleSummary.from_images(variants, space)
                for k in self.ks:
                    clusters = clustered(summary, k, seed)
                    for rule, mask, found in judged(clusters, image, truth):
                        one = score(mask, truth, found)
                        figures[_name(c, space, k, rule)] = [
                            found,
                            one.foreground,
                            one.background,
                        ]
        return figures

    def rows(self, entries: Sequence[Mapping[str, Sequence[Any]]]) -> list[dict[str, Any]]:
        """A row for each combination."""
        return [
            {"c": c, "space": space, "k": k, "rule": rule}
            | _summary([entry[_name(c, space, k, rule)] for entry in entries])
            for c in self.cutoffs
            for space in self.spaces
            for k in self.ks
            for rule in (*_RULES, ORACLE)
        ]


def drawn(pipe: covary.Pipeline, seed: int) -> tuple[Tensor, Tensor]:
    """X_0 and its variants uint8 (n, 3, H, W), as the pipeline draws them for a seed."""
    ctx = covary.RunContext(seed=seed).at("source", pipe.source.id)
    variants = pipe.source.open(covary.Query(seed=seed), ctx)
    return variants.image, torch.cat([batch.images for batch in variants.batches])


def clustered(summary: covary.StyleSummary, k: int, seed: int) -> covary.ClusterMap:
    """The clusters, as a pipeline with that seed makes them."""
    clusterer = covary.create("lloyd", kind="clusterer", k=k)
    assert isinstance(clusterer, covary.Clusterer)
    return clusterer.fit(summary, covary.RunContext(seed=seed).at("clusterer", clusterer.id))


def judged(
    clusters: covary.ClusterMap, image: Tensor, truth: Tensor
) -> Iterator[tuple[str, Tensor, bool]]:
    """(rule, mask, found) of every rule and of the oracle on the same clusters."""
    for name, key in _RULES.items():
        use, params = RULES[key]
        rule = covary.create(use, kind="foreground", **params)
        assert isinstance(rule, covary.ForegroundRule)
        chosen = rule.select(clusters, image)
        yield name, chosen.mask, chosen.found
    best = oracle(clusters, truth)
    yield ORACLE, best, bool(best.any())


def _name(c: int, space: str, k: int, rule: str) -> str:
    return f"{c}/{space}/{k}/{rule}"


def _miou(one: Sequence[Any]) -> float:
    _, foreground, background = one
    return float(foreground + background) / 2


def _summary(found: Sequence[Sequence[Any]]) -> dict[str, Any]:
    mious = [_miou(one) for one in found]
    confident = [value for value, one in zip(mious, found, strict=True) if one[0]]
    quartiles = spread(mious)
    return {
        "found": len(confident),
        "miou": round(_mean(mious), 5),
        "miou_found": round(_mean(confident), 5) if confident else None,
        "iou_foreground": round(_mean([one[1] for one in found]), 5),
        "q1": round(quartiles["q1"], 5),
        "q3": round(quartiles["q3"], 5),
    }


HIGHLIGHTS: Mapping[str, Mapping[str, Any]] = {
    "hair, by the oracle": {"part": ("hair",), "rule": None},
    "the person, by the rule corner": {"part": None, "rule": UPPER},
}
"""What is to be found under strong light, and how it is chosen."""

_LIGHT: Mapping[str, type[Avatars]] = {"strong": scenes.BrightLight, "usual": Avatars}


def highlights(seed: int, spaces: Sequence[str]) -> dict[str, list[Any]]:
    """(found, IoU of what is sought, mIoU) by ``what/light/space``."""
    figures = {}
    for what, how in HIGHLIGHTS.items():
        for light, world in _LIGHT.items():
            if how["part"]:
                stack = scenes.part(seed, _SIDE, how["part"], world)
            else:
                stack = scenes.rendered(seed, _SIDE, world)
            for space in spaces:
                one = from_stack(stack, seed, space=space, rule=how["rule"]).score
                figures[f"{what}/{light}/{space}"] = [one.found, one.foreground, one.miou]
    return figures


def _highlight_rows(
    entries: Sequence[Mapping[str, Sequence[Any]]], spaces: Sequence[str]
) -> list[dict[str, Any]]:
    rows = []
    for what in HIGHLIGHTS:
        for light in _LIGHT:
            for space in spaces:
                found = [entry[f"{what}/{light}/{space}"] for entry in entries]
                rows.append(
                    {
                        "what": what,
                        "light": light,
                        "space": space,
                        "iou": _mean([one[1] for one in found]),
                        "miou": _mean([one[2] for one in found]),
                        "iou_spread": spread([one[1] for one in found]),
                    }
                )
    return rows


def _differences(
    grid: Grid,
    c: int,
    entries: Sequence[Mapping[str, Sequence[Any]]],
    lights: Sequence[Mapping[str, Sequence[Any]]],
) -> dict[str, Any]:
    """Paired differences that the claims rest on, by a name for each."""
    found = {}

    def column(space: str, k: int, rule: str, c: int = c) -> list[float]:
        return [_miou(entry[_name(c, space, k, rule)]) for entry in entries]

    if {2, 4, 10} <= set(grid.ks):
        for rule in _RULES:
            for space in grid.spaces:
                for k in (2, 10):
                    name = f"{rule}, {space}, k = 4 over {k}"
                    found[name] = difference(column(space, 4, rule), column(space, k, rule))
    middle = middle_third(sorted(grid.cutoffs))
    others = [some for some in grid.cutoffs if some not in middle]
    if middle and 4 in grid.ks:
        for rule in _RULES:
            for space in grid.spaces:
                inner, outer = (
                    max((column(space, 4, rule, some) for some in among), key=sum)
                    for among in (middle, others)
                )
                name = f"{rule}, {space}, a middle c over the others"
                found[name] = difference(inner, outer)
    if {"lab", "rgb"} <= set(grid.spaces):
        for what in HIGHLIGHTS:
            for light in _LIGHT:
                lab, rgb = (
                    [entry[f"{what}/{light}/{space}"][1] for entry in lights]
                    for space in ("lab", "rgb")
                )
                found[f"{what}, {light}, LAB over RGB"] = difference(lab, rgb)
    return {name: asdict(one) for name, one in found.items()}


def run(study: Study, grid: Grid, reference: Reference, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Measure every combination and the highlights, draw some, write the results."""
    c = int(grid.pipe.recipe.source.params["c"])
    keys = [f"{part} {seed}" for part in ("grid", "highlights") for seed in study.seeds]

    def one(key: str) -> Any:
        part, _, seed = key.partition(" ")
        if part == "grid":
            return grid.measure(int(seed), reference)
        return highlights(int(seed), grid.spaces)

    about = {
        "recipe": grid.pipe.recipe.model_dump(mode="json"),
        "judge": reference.about(),
        "cutoffs": list(grid.cutoffs),
        "spaces": list(grid.spaces),
        "ks": list(grid.ks),
    }
    found = dict(zip(keys, study.measure(keys, one, about), strict=True))
    entries, lights = (
        [found[f"{part} {seed}"] for seed in study.seeds] for part in ("grid", "highlights")
    )
    data = {
        **extra,
        **about,
        "c": c,
        "rows": grid.rows(entries),
        "highlights": _highlight_rows(lights, grid.spaces),
        "differences": _differences(grid, c, entries, lights),
        "pictures": save_rows(
            list(_pictures(grid, reference, study.seeds[0])), study.out / f"{study.name}.webp"
        ),
    }
    study.write(data, __doc__)
    return data


def _pictures(grid: Grid, reference: Reference, seed: int) -> Iterator[Row]:
    """Masks of one seed by the preset's rule: a row for each k, a column for each cutoff."""
    stacks = [drawn(grid.source(c), seed) for c in grid.cutoffs]
    image = stacks[0][0]
    truth = shown(image, reference.mask(image), _TILE)
    yield Row("what counts as true", [truth] * len(stacks))
    for k in (k for k in grid.ks if k in _SHOWN_K):
        tiles = []
        for image, variants in stacks:
            summary = covary.StyleSummary.from_images(variants, grid.spaces[0])
            rule = grid.pipe.foreground
            mask = rule.select(clustered(summary, k, seed), image).mask
            tiles.append(shown(image, mask, _TILE))
        columns = ", ".join(map(str, grid.cutoffs))
        yield Row(f"k = {k}; columns: c = {columns}", tiles)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
