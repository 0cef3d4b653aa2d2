"""How much the number of variants n and the truncation psi matter.

The preset, with every n and every psi in turn; a network says where the person is on X_0, which
changes with psi, so that each psi has images of its own. `difference` is the mean of the mIoU with
the most variants less that with the fewest, seed by seed, with its 95 % interval, at the preset's
psi. `seconds` are those of one query on one thread, processor time, the weights being
loaded: variants, summary, clusters and rule. Means over the seeds, which start at 1000.

The number S3 is that of this project's plan; the paper's supplement was not at hand.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import covary

from ..report import spread
from .figures import Figures, compare, difference, summarise
from .pictures import Row, save_rows, shown
from .reference import Reference
from .study import Study

__all__ = ["Sensitivity", "run"]

_SHOWN = 6
_TILE = 64


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What is changed."""

    pipe: covary.Pipeline
    variants: Sequence[int]
    psis: Sequence[float]

    def __post_init__(self) -> None:
        missing = {"n", "psi"} - set(type(self.pipe.source).Params.model_fields)
        if missing:
            raise covary.InputError(
                "s3",
                expected="a preset whose source has the parameters n and psi",
                got=self.pipe.source.id,
                fix="choose one of a StyleGAN2 generator",
            )

    def pipelines(self) -> dict[tuple[int, float], covary.Pipeline]:
        """One for each pair of n and psi."""
        spec = self.pipe.recipe.source
        return {
            (n, psi): self.pipe.replace(source=(spec.use, {**spec.params, "n": n, "psi": psi}))
            for psi in self.psis
            for n in self.variants
        }


def run(
    study: Study, what: Sensitivity, reference: Reference, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure every pair of n and psi, draw some, write the results."""
    pipes = what.pipelines()
    for pipe in pipes.values():
        pipe(seed=study.seeds[0])  # loads weights, compiles

    def one(seed: str) -> list[Any]:
        found = []
        for pipe in pipes.values():
            start = time.process_time()
            result = pipe(seed=int(seed))
            seconds = time.process_time() - start
            figures = compare(result.mask, reference.mask(result.image), result.found)
            found.append([figures.data(), seconds])
        return found

    about = {
        "recipe": what.pipe.recipe.model_dump(mode="json"),
        "judge": reference.about(),
        "variants": list(what.variants),
        "psis": list(what.psis),
    }
    entries = list(study.measure(map(str, study.seeds), one, about))
    rows = [
        {
            "n": n,
            "psi": psi,
            **summarise([Figures(**entry[index][0]) for entry in entries]),
            "seconds": spread([entry[index][1] for entry in entries]),
        }
        for index, (n, psi) in enumerate(pipes)
    ]
    sheet = save_rows(list(_pictures(pipes, what, study.seeds)), study.out / f"{study.name}.webp")
    data = {
        **extra,
        **about,
        "rows": rows,
        "difference": _difference(what, list(pipes), entries),
        "pictures": sheet,
    }
    study.write(data, __doc__)
    return data


def _difference(
    what: Sensitivity, keys: Sequence[tuple[int, float]], entries: Sequence[Sequence[Any]]
) -> dict[str, Any] | None:
    """How much better the most variants are than the fewest, at the preset's psi."""
    psi = what.pipe.recipe.source.params["psi"]
    if psi not in what.psis or len(what.variants) < 2:
        return None
    many, few = (
        [entry[keys.index((n, psi))][0]["miou"] for entry in entries]
        for n in (max(what.variants), min(what.variants))
    )
    return asdict(difference(many, few))


def _pictures(
    pipes: Mapping[tuple[int, float], covary.Pipeline], what: Sensitivity, seeds: range
) -> Iterator[Row]:
    """The first seeds with the preset's psi, a row for each n."""
    psi = what.pipe.recipe.source.params["psi"]
    chosen = psi if psi in what.psis else what.psis[0]
    for n in what.variants:
        results = [pipes[n, chosen](seed=seed) for seed in seeds[:_SHOWN]]
        yield Row(
            f"n = {n}, psi = {chosen:g}", [shown(one.image, one.mask, _TILE) for one in results]
        )
