"""Deliberate defects in a clusterer, each of which the contract catches by name."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field

import covary
from covary import ClusterMap, InputError, RunContext, StyleSummary
from covary.testing import ClustererContract, Contract, run_contract


class KMeans(covary.Clusterer):
    """k-means as it should be: the best of some starts, float64, no empty cluster."""

    class Params(covary.Params):
        k: int = Field(3, ge=1, description="number of clusters")
        starts: int = Field(8, ge=1, description="the best of so many is kept")

    params: Params

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        generator = (ctx or RunContext()).generator()
        x = self.pixels(summary)
        self.refuse_too_many(x)
        starts = [self.spread(x, generator) for _ in range(self.params.starts)]
        return min((self.lloyd(summary, x, start) for start in starts), key=lambda m: m.inertia)

    def fit_from(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> ClusterMap:
        shape = (self.params.k, summary.features)
        if tuple(centers.shape) != shape:
            got = str(tuple(centers.shape))
            raise InputError("initial centres", expected=f"shape {shape}", got=got)
        if not bool(torch.isfinite(centers).all()):
            raise InputError("initial centres", expected="finite values", got="NaN")
        x = self.pixels(summary)
        self.refuse_too_many(x)
        return self.lloyd(summary, x, centers.double())

    def predict(
        self, summary: StyleSummary, centers: torch.Tensor, ctx: RunContext | None = None
    ) -> torch.Tensor:
        labels = torch.cdist(summary.matrix(), centers).argmin(dim=1)
        return labels.to(torch.int32).reshape(summary.size)

    def memory(self, size: tuple[int, int], features: int) -> int:
        return 64 * size[0] * size[1] * (features + self.params.k)  # unique sorts copies

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        x = summary.matrix().double()
        if not bool(torch.isfinite(x.float().square().sum(dim=1)).all()):
            raise InputError(
                "pixels", expected="squared distances in float32", fix="scale the data"
            )
        return x

    def refuse_too_many(self, x: torch.Tensor) -> None:
        most = len(x.unique(dim=0))
        if self.params.k > most:
            expected = f"at most {most}, the distinct pixels"
            raise InputError(f"k = {self.params.k}", expected=expected, fix="lower k")

    def spread(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Pixels, each next one with probability by its squared distance to those before."""
        chosen = [int(torch.randint(len(x), (1,), generator=generator))]
        for _ in range(1, self.params.k):
            near = (x[:, None] - x[chosen]).square().sum(dim=2).amin(dim=1)
            chosen.append(int(torch.multinomial(near, 1, generator=generator)))
        return x[chosen]

    def lloyd(self, summary: StyleSummary, x: torch.Tensor, centers: torch.Tensor) -> ClusterMap:
        centers, labels = centers.clone(), torch.full((len(x),), -1)
        passes = 0
        while passes < 300:  # some of the defects would go round for ever
            passes += 1
            squared = exact_distances(x, centers).square()
            new = squared.argmin(dim=1)
            own = squared.gather(1, new[:, None])[:, 0]
            for label in self.empty(new):
                farthest = int(own.argmax())
                new[farthest], own[farthest] = label, -1
            if torch.equal(new, labels):
                break
            labels = new
            centers = torch.stack([x[labels == i].mean(dim=0) for i in range(len(centers))])
        inertia = float((x - centers[labels]).square().sum())
        return self.answer(summary, labels, centers, inertia, passes)

    def empty(self, labels: torch.Tensor) -> list[int]:
        counts = torch.bincount(labels, minlength=self.params.k)
        return [label for label, count in enumerate(counts.tolist()) if not count]

    def answer(self, summary: Any, labels: Any, centers: Any, inertia: float, passes: int) -> Any:
        return ClusterMap.from_labels(
            labels, centers, size=summary.size, inertia=inertia, iterations=passes
        )


def exact_distances(x: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
    """Distances (N, K) from differences, not from products, which round."""
    return torch.cdist(x, centers, compute_mode="donot_use_mm_for_euclid_dist")


def contract_of(component: type[covary.Clusterer]) -> type[Contract]:
    class Tested(ClustererContract):
        exact = {}

        def create(self, **params: Any) -> Any:
            return component(**params)

    return Tested


def test_a_good_one_passes_every_check() -> None:
    results = run_contract(contract_of(KMeans))
    assert [(r.check, r.message) for r in results if not r.good] == []
    skipped = {result.check for result in results if result.outcome == "skipped"}
    assert skipped == {
        "is_listed_with_summary_and_licence",
        "imports_nothing_heavy",
        "moves_between_devices",
    }


class Tuple(KMeans):
    """Returns labels and centres."""

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> Any:
        found = super().fit(summary, ctx)
        return found.labels, found.centers


def replaced(**changes: Callable[[ClusterMap], Any]) -> type[KMeans]:
    """One with other fields in its answer."""

    class Replaced(KMeans):
        """Another answer."""

        def answer(self, *args: Any) -> Any:
            found = super().answer(*args)
            fields = {name: change(found) for name, change in changes.items()}
            return dataclasses.replace(found, **fields)

    return Replaced


class Doubles(KMeans):
    """Scales the pixels in place."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        summary.data.mul_(2)
        return super().pixels(summary)


class Moves(KMeans):
    """Uses the tensor of initial centres as its own."""

    def fit_from(self, summary: Any, centers: Any, ctx: Any = None) -> ClusterMap:
        found = super().fit_from(summary, centers, ctx)
        centers.zero_()
        return found


class Careless(KMeans):
    """Draws from torch's global generator."""

    def spread(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return super().spread(x, torch.default_generator)


class Reseeds(KMeans):
    """Seeds numpy's global state."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        np.random.seed(0)
        return super().pixels(summary)


class Unrepeatable(KMeans):
    """Says bitwise and adds noise of its own."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        noise = torch.randn(1, generator=torch.Generator().manual_seed(torch.seed() % 2**32))
        return super().pixels(summary) + 1e-3 * noise


class Remembers(KMeans):
    """Starts where the image before ended."""

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        before = getattr(self, "before", None)
        if before is None or before.shape[1] != summary.features:
            found = super().fit(summary, ctx)
        else:
            found = self.lloyd(summary, self.pixels(summary), before)
        self.before = found.centers.double()
        return found


class NoMeans(KMeans):
    """Stops before any iteration: pixels are its centres."""

    def lloyd(self, summary: Any, x: Any, centers: Any) -> Any:
        squared = (x[:, None] - centers).square().sum(dim=2)
        inertia = float(squared.amin(dim=1).sum())
        return self.answer(summary, squared.argmin(dim=1), centers, inertia, 1)


class Brightness(KMeans):
    """Looks at the mean feature alone."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        return super().pixels(summary).mean(dim=1, keepdim=True).expand(-1, summary.features)


class Half(KMeans):
    """Looks at the first half of the features."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        x = super().pixels(summary).clone()
        x[:, summary.features // 2 :] = 0
        return x


class Raw(KMeans):
    """Reads the storage as if it were pixel-major."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        flat = summary.data.T.contiguous() if summary.data.stride(0) == 1 else summary.data
        return flat.reshape(summary.data.shape).double()


class Wide(KMeans):
    """Compares brightness with a fixed threshold."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        return super().pixels(summary).clamp(0, 1)


class Hopeful(KMeans):
    """Lets k exceed the colours."""

    def refuse_too_many(self, x: torch.Tensor) -> None:
        pass

    def spread(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return x[torch.randint(len(x), (self.params.k,), generator=generator)]


class Silent(KMeans):
    """Refuses without saying what is possible."""

    def refuse_too_many(self, x: torch.Tensor) -> None:
        if self.params.k > len(x.unique(dim=0)):
            raise InputError("k is wrong")


class Lazy(KMeans):
    """Leaves empty clusters empty, with NaN for centres."""

    def empty(self, labels: torch.Tensor) -> list[int]:
        return []


class Unfit(KMeans):
    """Takes whatever centres it is given."""

    def fit_from(self, summary: Any, centers: Any, ctx: Any = None) -> ClusterMap:
        shape = (self.params.k, summary.features)
        padded = torch.zeros(shape)
        flat = centers.nan_to_num().reshape(-1)[: padded.numel()]
        padded.reshape(-1)[: len(flat)] = flat
        return super().fit_from(summary, padded, ctx)


class Overflows(KMeans):
    """Computes on whatever the magnitude."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        return summary.matrix().double()


class Thrifty(KMeans):
    """Says that it needs next to nothing."""

    def memory(self, size: tuple[int, int], features: int) -> int:
        return 1000


class Swallows(KMeans):
    """Catches everything."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        try:
            return super().pixels(summary)
        except BaseException:
            return torch.arange(180.0 * 6, dtype=torch.float64).reshape(180, 6)


class Locked(KMeans):
    """Holds a lock."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.lock = threading.Lock()


class Forgets(KMeans):
    """Loses its parameters when pickled."""

    def __reduce__(self) -> Any:
        return type(self), ()


class Needs(KMeans):
    """Insists on a context."""

    def fit(self, summary: StyleSummary, ctx: RunContext | None = None) -> ClusterMap:
        assert ctx is not None
        return super().fit(summary, ctx)


class Farthest(KMeans):
    """Predicts backwards."""

    def predict(self, summary: Any, centers: Any, ctx: Any = None) -> torch.Tensor:
        labels = torch.cdist(summary.matrix(), centers).argmax(dim=1)
        return labels.to(torch.int32).reshape(summary.size)


class Single(KMeans):
    """Divides by the spread of the values."""

    def pixels(self, summary: StyleSummary) -> torch.Tensor:
        x = super().pixels(summary)
        if not bool((x - x.mean(dim=0)).any()):
            raise ZeroDivisionError("no spread")
        return x


class Undescribed(KMeans):
    """Has a parameter without a description."""

    class Params(KMeans.Params):
        mystery: int = 1


class Anything(KMeans):
    """Takes every parameter."""

    class Params(KMeans.Params):
        model_config = {"extra": "ignore"}


class Thawed(KMeans):
    """Parameters that can be set."""

    class Params(KMeans.Params):
        model_config = {"frozen": False}


class Unreadable(KMeans):
    """A parameter that TOML cannot keep."""

    class Params(KMeans.Params):
        edge: float | None = Field(1.0, description="None means open, and is the default in TOML")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"edge": None, **params})


class Undecided(KMeans):
    """Declares a determinism that there is not."""

    determinism = "mostly"  # type: ignore[assignment]


# Defect -> the checks that must catch it, and words of the explanation.
MUTANTS: dict[str, tuple[type[KMeans], tuple[str, ...], str]] = {
    "no cluster map": (Tuple, ("finds_distant_groups",), "covary.ClusterMap, got tuple"),
    "int64 labels": (
        replaced(labels=lambda m: m.labels.long()), ("finds_distant_groups",), "int32"
    ),
    "flat labels": (
        replaced(labels=lambda m: m.labels.reshape(-1)), ("finds_distant_groups",), "(12, 15)"
    ),
    "labels out of range": (
        replaced(labels=lambda m: m.labels + 1), ("finds_distant_groups",), "values in 0.."
    ),
    "ids by chance": (
        replaced(labels=lambda m: m.k - 1 - m.labels, centers=lambda m: m.centers.flip(0)),
        ("gives_canonical_ids",), "canonical",
    ),
    "float64 centres": (
        replaced(centers=lambda m: m.centers.double()), ("finds_distant_groups",), "float32"
    ),
    "halved inertia": (
        replaced(inertia=lambda m: m.inertia / 2), ("reports_the_inertia_of_its_labels",), "inertia"
    ),
    "never converged": (
        replaced(converged=lambda m: False), ("finds_distant_groups",), "converged"
    ),
    "mutates the summary": (Doubles, ("leaves_the_summary_unchanged",), "work on a copy"),
    "mutates the centres": (Moves, ("leaves_the_initial_centres_unchanged",), "initial centres"),
    "global generator": (Careless, ("leaves_global_random_state_alone",), "ctx.generator()"),
    "seeds numpy": (Reseeds, ("leaves_global_random_state_alone",), "numpy"),
    "not repeatable": (Unrepeatable, ("repeats_a_run_with_the_same_seed",), "determinism"),
    "remembers": (Remembers, ("keeps_nothing_between_fits",), "not on self"),
    "no iteration": (
        NoMeans, ("centres_are_the_means_of_their_pixels", "agrees_with_lloyd_in_float64"), ""
    ),
    "brightness only": (Brightness, ("comes_near_the_best_inertia", "finds_distant_groups"), ""),
    "half of the features": (
        Half, ("comes_near_the_best_inertia", "reports_the_inertia_of_its_labels"), "inertia"
    ),
    "misreads planar data": (Raw, ("ignores_the_layout_in_memory",), "layout"),
    "fixed range": (Wide, ("ignores_a_translation",), ""),
    "k beyond the colours": (Hopeful, ("refuses_more_clusters_than_distinct_pixels",), ""),
    "silent refusal": (Silent, ("refuses_more_clusters_than_distinct_pixels",), "to say"),
    "empty clusters": (Lazy, ("fills_clusters_that_attract_no_pixel",), ""),
    "any centres": (Unfit, ("refuses_initial_centres_that_do_not_fit",), "InputError"),
    "overflow": (Overflows, ("refuses_values_whose_distances_overflow",), "InputError"),
    "false estimate": (Thrifty, ("says_how_much_memory_it_takes",), "MiB"),
    "swallows Ctrl-C": (Swallows, ("lets_ctrl_c_through",), "KeyboardInterrupt"),
    "a lock": (Locked, ("pickles",), "another process"),
    "forgets": (Forgets, ("finds_the_same_when_pickled",), ""),
    "no default context": (Needs, ("works_without_a_context",), "AssertionError"),
    "farthest": (Farthest, ("predicts_the_nearest_centre",), "nearest"),
    "one colour": (Single, ("takes_a_constant_image", "takes_a_single_pixel"), "ZeroDivisionError"),
    "undescribed": (Undescribed, ("describes_its_parameters",), "mystery"),
    "any parameter": (Anything, ("refuses_unknown_parameters",), "ParamsError"),
    "thawed": (Thawed, ("freezes_its_parameters",), "frozen"),
    "lost in TOML": (Unreadable, ("parameters_survive_a_pipeline_file",), "TOML"),
    "no such level": (Undecided, ("declares_its_determinism",), "mostly"),
}  # fmt: skip


@pytest.mark.parametrize("defect", MUTANTS)
def test_a_defect_is_caught_by_name(defect: str) -> None:
    component, checks, words = MUTANTS[defect]
    results = run_contract(contract_of(component), only=checks)
    assert [result.check for result in results if result.outcome == "failed"] == list(checks)
    assert words in " ".join(result.message for result in results)
