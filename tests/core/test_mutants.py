"""Deliberate defects in components of every kind, each of which its contract catches by name.

Clusterers: ``test_mutant_clusterers.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import numpy as np
import pytest
import torch

import covary
from covary import Box, ClusterMap, Query, RunContext, VariantBatch
from covary.testing import (
    Contract,
    DetectorContract,
    FeatureSpaceContract,
    ForegroundRuleContract,
    LandmarkDetectorContract,
    VariantSourceContract,
    contract_for,
    run_contract,
)
from healthy_components import Bright, Centre, Face, Mosaic, Opponent, PhotoMosaic, paint
from plugin_factory import write_plugin

CONTRACTS: dict[type, type[Contract]] = {
    covary.VariantSource: VariantSourceContract,
    covary.FeatureSpace: FeatureSpaceContract,
    covary.ForegroundRule: ForegroundRuleContract,
    covary.Detector: DetectorContract,
    covary.LandmarkDetector: LandmarkDetectorContract,
}
HEALTHY = (Mosaic, PhotoMosaic, Opponent, Centre, Bright, Face)


def contract_of(component: type[covary.Configurable]) -> type[Contract]:
    (contract,) = (CONTRACTS[base] for base in component.__mro__ if base in CONTRACTS)

    class Tested(contract):  # type: ignore[misc, valid-type]
        def create(self, **params: Any) -> Any:
            return component(**params)

    return Tested


def wrong(component: type[covary.Configurable], *only: str) -> dict[str, str]:
    """Check -> explanation of what its contract finds wrong with a component."""
    results = run_contract(contract_of(component), only)
    return {result.check: result.message for result in results if not result.good}


@pytest.mark.parametrize("component", HEALTHY)
def test_sound_components_pass(component: type[covary.Configurable]) -> None:
    assert wrong(component) == {}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("component", [Opponent, Centre, Bright, Face])
def test_no_false_alarm_under_other_seeds_of_hypothesis(
    component: type[covary.Configurable], seed: int
) -> None:
    contract = contract_of(component)
    for check in contract.checks():
        function = contract.plain(check)
        if hypothesis.is_hypothesis_test(function):
            hypothesis.seed(seed)(function)(contract())


# --- sources ---------------------------------------------------------------------------------


class ListsThem(Mosaic):
    """Its batches are a list."""

    def batches(self, *given: Any) -> Any:
        return list(super().batches(*given))


class PaintsFirst(Mosaic):
    """All variants are painted before the first is asked for."""

    def batches(self, cells: Any, colours: Any, ctx: Any) -> Any:
        images = torch.stack([paint(cells, palette) for palette in colours])
        return (VariantBatch(some) for some in images.split(2))


class PaintsAtOnce(Mosaic):
    """All variants are painted when the first is asked for, and given piece by piece."""

    def batches(self, cells: Any, colours: Any, ctx: Any) -> Any:
        images = torch.stack([paint(cells, palette) for palette in colours])
        yield from (VariantBatch(some) for some in images.split(2))


class OneBuffer(Mosaic):
    """Paints all batches into the same memory."""

    def batches(self, *given: Any) -> Any:
        buffer = None
        for batch in super().batches(*given):
            buffer = batch.images.clone() if buffer is None else buffer.copy_(batch.images)
            yield VariantBatch(buffer)


class KeepsThem(Mosaic):
    """Keeps every batch."""

    def batches(self, *given: Any) -> Any:
        self.kept: list[Any] = []
        for batch in super().batches(*given):
            self.kept.append(batch)
            yield batch


class OneShort(Mosaic):
    """One variant fewer than it says."""

    def colours(self, ctx: RunContext) -> torch.Tensor:
        return super().colours(ctx)[1:]


class Doubled(Mosaic):
    """Twice as many variants as n."""

    def open(self, query: Query, ctx: RunContext) -> Any:
        variants = super().open(query, ctx)
        again = super().open(query, ctx)

        def both() -> Iterator[VariantBatch]:
            yield from variants.batches
            yield from again.batches

        return replace(variants, count=2 * variants.count, batches=both())


class NarrowLast(Mosaic):
    """Its last batch is a pixel narrower."""

    def batches(self, *given: Any) -> Any:
        *most, last = super().batches(*given)
        yield from most
        yield VariantBatch(last.images[..., 1:])


class Bare(Mosaic):
    """Gives tensors instead of batches."""

    def batches(self, *given: Any) -> Any:
        return (batch.images for batch in super().batches(*given))


class Unopened(Mosaic):
    """Returns the image alone."""

    def open(self, query: Query, ctx: RunContext) -> Any:
        found = super().open(query, ctx)
        found.batches.close()
        return Opened(found.image)


class Opened:
    """No covary.Variants."""

    def __init__(self, image: torch.Tensor) -> None:
        self.image, self.batches = image, iter(())


class AlwaysTheSame(Mosaic):
    """Its variants do not depend on the run's seed."""

    def colours(self, ctx: RunContext) -> torch.Tensor:
        return super().colours(replace(ctx, seed=0))


class OneAppearance(Mosaic):
    """All variants are one."""

    def colours(self, ctx: RunContext) -> torch.Tensor:
        colours = super().colours(ctx)
        return colours[:1].expand_as(colours)


class DrawsImage(Mosaic):
    """X_0 depends on the run's seed."""

    def image(self, query: Query, ctx: RunContext) -> torch.Tensor:
        return super().image(Query(seed=ctx.derived_seed() % 2**32), ctx)


class OneImage(Mosaic):
    """Whatever the query, the image of seed 0."""

    def image(self, query: Query, ctx: RunContext) -> torch.Tensor:
        return super().image(Query(seed=0), ctx)


class DrawsStructure(Mosaic):
    """The variants' structure depends on the run's seed."""

    def cells(self, query: Query, image: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        return self.drawn(ctx.generator())


class UsesGlobalState(Mosaic):
    """Draws from torch's global generator."""

    def colours(self, ctx: RunContext) -> torch.Tensor:
        return torch.randint(0, 256, (self.params.n, 5, 3), dtype=torch.uint8)


class HiddenState(Mosaic):
    """Draws from a generator of its own module."""

    draw: ClassVar[torch.Generator] = torch.Generator().manual_seed(0)

    def colours(self, ctx: RunContext) -> torch.Tensor:
        return torch.randint(0, 256, (self.params.n, 5, 3), generator=self.draw, dtype=torch.uint8)


class WidthFirst(Mosaic):
    """Says (W, H)."""

    def open(self, query: Query, ctx: RunContext) -> Any:
        variants = super().open(query, ctx)
        flipped = (VariantBatch(batch.images.mT.contiguous()) for batch in variants.batches)
        return replace(variants, image=variants.image.mT.contiguous(), batches=flipped)


class Megabytes(Mosaic):
    """Says how many megabytes it needs."""

    def memory(self, size: tuple[int, int], features: int) -> Any:
        return super().memory(size, features) / 2**20


class OneReader(Mosaic):
    """Goes on where it was left when a query is opened again."""

    def batches(self, *given: Any) -> Any:
        self.reader = getattr(self, "reader", None) or list(super().batches(*given))
        while self.reader:
            yield self.reader.pop(0)


class RemembersImage(Mosaic):
    """Takes the first query's structure for all later ones."""

    def cells(self, query: Query, image: torch.Tensor, ctx: RunContext) -> torch.Tensor:
        self.kept = getattr(self, "kept", None)
        if self.kept is None:
            self.kept = super().cells(query, image, ctx)
        return self.kept


class Swallows(Mosaic):
    """Catches everything while it paints."""

    def batches(self, cells: Any, colours: Any, ctx: Any) -> Any:
        for palette in colours:
            try:
                images = paint(cells, palette)[None]
            except BaseException:
                images = torch.zeros(1, 3, *cells.shape, dtype=torch.uint8)
            yield VariantBatch(images)


class Renames(Mosaic):
    """Turns whatever happens into an error of its own."""

    def colours(self, ctx: RunContext) -> torch.Tensor:
        try:
            return super().colours(ctx)
        except BaseException as error:
            raise RuntimeError("no colours") from error


class BreaksOff(Mosaic):
    """After an interruption it stays half made."""

    def colours(self, ctx: RunContext) -> torch.Tensor:
        if not hasattr(self, "made"):
            self.made: list[torch.Tensor] = []
            for palette in super().colours(ctx):
                self.made.append(palette.clone())
        return torch.stack(self.made)


class MissesNothing(PhotoMosaic):
    """A missing photo is a KeyError, text is a grey image."""

    def image(self, query: Query, ctx: RunContext) -> torch.Tensor:
        try:
            return super().image(query, ctx)
        except covary.InputError:
            if not query.paths[0].exists():
                raise KeyError(query.paths[0]) from None
            return torch.full((3, 8, 8), 128, dtype=torch.uint8)


class TakesSeeds(PhotoMosaic):
    """Says files, and takes seeds for the photo of that number."""

    def check(self, query: Query) -> None:
        pass


class Misspelt(Mosaic):
    """Accepts what there is not."""

    accepts = frozenset({"seed", "file"})


class Forgets(PhotoMosaic):
    """Does not say which files it read."""

    def open(self, query: Query, ctx: RunContext) -> Any:
        return replace(super().open(query, ctx), inputs={})


class Sizes(PhotoMosaic):
    """Says how large the files are instead of what is in them."""

    def open(self, query: Query, ctx: RunContext) -> Any:
        inputs = {str(path): str(path.stat().st_size) for path in query.paths}
        return replace(super().open(query, ctx), inputs=inputs)


class WritesBeside(PhotoMosaic):
    """Leaves a file beside the photo."""

    def image(self, query: Query, ctx: RunContext) -> torch.Tensor:
        if query.paths and query.paths[0].exists():
            query.paths[0].with_suffix(".grey").write_bytes(b"grey")
        return super().image(query, ctx)


class LoadsFirst(Mosaic):
    """Has its weights as soon as it is made."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.weights = torch.zeros(2**16)


class Heavy(Mosaic):
    """As ``LoadsFirst``, without torch."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.weights = np.zeros(2**16)


class BeyondTheEnd(Mosaic):
    """Its progress ends beyond its total."""

    def batches(self, cells: Any, colours: Any, ctx: Any) -> Any:
        for done, batch in enumerate(super().batches(cells, colours, ctx)):
            ctx.progress(done + 1, 1, "mosaics")
            yield batch


class NoFigure(Mosaic):
    """Has a metric that is no number."""

    def open(self, query: Query, ctx: RunContext) -> Any:
        return replace(super().open(query, ctx), metrics={"mse": float("nan")})


class Sealed(Mosaic):
    """Keeps a function that no pickle can hold."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.hook = lambda: None


SOURCES = {
    ListsThem: (("draws_variants_lazily",), "expected an iterator"),
    PaintsFirst: (("draws_variants_lazily",), "expected no variant in memory, got 6 images"),
    PaintsAtOnce: (("draws_variants_lazily",), "got a view of 6 images"),
    OneBuffer: (("leaves_what_it_gave_alone",), "got batch 1 changed"),
    KeepsThem: (("draws_variants_lazily",), "one batch at a time, got 3 batches"),
    OneShort: (("gives_as_many_variants_as_it_says",), "expected 6, its count, got 5"),
    Doubled: (("gives_as_many_variants_as_it_says",), "expected 6, the parameter n"),
    NarrowLast: (
        ("gives_variants_of_the_images_shape",), "X_0, (3, 24, 32), got (3, 24, 31) and (3, 24, 32)"
    ),
    Bare: (("gives_variants_of_the_images_shape",), "VariantBatch, got uint8 (2, 3, 24, 32)"),
    Unopened: (("gives_variants_of_the_images_shape",), "expected covary.Variants, got Opened"),
    AlwaysTheSame: (("draws_variants_from_the_runs_seed",), "ctx.generator()"),
    OneAppearance: (("gives_variants_that_differ",), "cannot co-vary"),
    DrawsImage: (("image_follows_from_the_query_alone",), "not from ctx.generator()"),
    OneImage: (("another_query_gives_another_image",), "derive X_0 from query.seed"),
    DrawsStructure: (("keeps_the_structure",), "structure follow from the query alone"),
    UsesGlobalState: (
        ("leaves_global_random_state_alone", "repeats_a_run_with_the_same_seed"), "of torch"
    ),
    HiddenState: (
        ("repeats_a_run_with_the_same_seed", "does_the_same_when_pickled"),
        "another set of variants",
    ),
    WidthFirst: (("knows_its_size",), "(H, W) of X_0, (32, 24), got (24, 32)"),
    Megabytes: (("says_how_much_memory_it_takes",), "bytes, an integer"),
    OneReader: (("opens_again_after_it_was_half_read",), "not on self"),
    RemembersImage: (("keeps_nothing_between_runs",), "another set of variants"),
    Swallows: (("lets_ctrl_c_through",), "never BaseException"),
    Renames: (("lets_ctrl_c_through",), "got RuntimeError: no colours"),
    BreaksOff: (("lets_ctrl_c_through",), "interrupted before"),
    MissesNothing: (
        ("refuses_files_that_are_not_there", "refuses_files_that_are_no_images"),
        "got KeyError",
    ),
    TakesSeeds: (("refuses_kinds_of_query_that_it_does_not_accept",), "a query of kind 'seed'"),
    Misspelt: (("accepts_some_queries",), "'seed', 'files' or both"),
    Forgets: (("names_the_files_it_read",), "got nothing"),
    Sizes: (("names_the_files_it_read",), "its sha256"),
    WritesBeside: (("leaves_its_input_unchanged",), "write to ctx.cache"),
    LoadsFirst: (("is_cheap_to_make",), "1 tensors made"),
    Heavy: (("is_cheap_to_make",), "bytes when pickled"),
    BeyondTheEnd: (("reports_what_it_made",), "got progress(2, 1, 'mosaics')"),
    NoFigure: (("reports_what_it_made",), "metric 'mse': expected a finite number, got nan"),
    Sealed: (("pickles",), "no open files, locks, lambdas"),
}  # fmt: skip


# --- feature spaces --------------------------------------------------------------------------


class Wide(Opponent):
    """Forgets the conversion to its dtype."""

    def store(self, features: torch.Tensor) -> torch.Tensor:
        return features


class Third(Opponent):
    """A channel more than it declares."""

    def store(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat([features, features[:, :1]], dim=1).half()


class ChannelsLast(Opponent):
    """Puts the channels last."""

    def store(self, features: torch.Tensor) -> torch.Tensor:
        return features.permute(0, 2, 3, 1).half()


class Arrays(Opponent):
    """Gives a numpy array."""

    def encode(self, batch: VariantBatch) -> Any:
        return super().encode(batch).numpy()


class InPlace(Opponent):
    """Inverts the batch itself."""

    def read(self, batch: VariantBatch) -> torch.Tensor:
        return torch.bitwise_not(batch.images, out=batch.images).float() / 255


class Logarithm(Opponent):
    """The logarithm of black."""

    def convert(self, values: torch.Tensor) -> torch.Tensor:
        return super().convert(values).add(1).log()


class Overflow(Opponent):
    """Leaves the range of float16 in saturated colours."""

    def convert(self, values: torch.Tensor) -> torch.Tensor:
        features = super().convert(values)
        features[:, 1] = torch.where(features[:, 1].abs() > 0.999, 1e6, features[:, 1])
        return features


class Standardised(Opponent):
    """Subtracts the mean of the batch."""

    def convert(self, values: torch.Tensor) -> torch.Tensor:
        return super().convert(values - values.mean(dim=0))


class Storage(Opponent):
    """Reads the memory as if it were in order."""

    def read(self, batch: VariantBatch) -> torch.Tensor:
        raw = batch.images.untyped_storage()
        flat = torch.tensor([], dtype=torch.uint8).set_(raw)
        return flat[: batch.images.numel()].view(batch.images.shape).float() / 255


class Viewed(Opponent):
    """Takes no batch whose pixels do not lie side by side."""

    def read(self, batch: VariantBatch) -> torch.Tensor:
        return batch.images.view(batch.images.shape[0], -1).view(batch.images.shape).float() / 255


class Constant(Opponent):
    """The same features for all images."""

    def read(self, batch: VariantBatch) -> torch.Tensor:
        return torch.zeros(batch.images.shape)


class Padded(Opponent):
    """Mirrors a border of two pixels, which small images do not have."""

    def convert(self, values: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(values, (2, 2, 2, 2), mode="reflect")
        return super().convert(padded)[..., 2:-2, 2:-2]


class Dithered(Opponent):
    """Adds noise from the global generator."""

    def read(self, batch: VariantBatch) -> torch.Tensor:
        return super().read(batch) + 0.1 * torch.rand(batch.images.shape)


class FirstRange(Opponent):
    """Scales all batches by the range of the first one."""

    def read(self, batch: VariantBatch) -> torch.Tensor:
        self.most = getattr(self, "most", batch.images.float().mean())
        return batch.images / (2 * self.most)


class NoChannels(Opponent):
    """Declares its channels as text."""

    channels = "2"  # type: ignore[assignment]


class Double(Opponent):
    """Declares a dtype that no summary stores."""

    dtype = "float64"  # type: ignore[assignment]


class CatchesAll(Opponent):
    """Catches everything."""

    def convert(self, values: torch.Tensor) -> torch.Tensor:
        try:
            return super().convert(values)
        except BaseException:
            return values[:, :2]


FEATURES = {
    Wide: (
        ("gives_the_declared_dtype_and_shape", "fits_the_style_summary"),
        "expected float16 (1, 2, 1, 1): as declared, (B, channels, H, W), got float32 (1, 2, 1, 1)",
    ),
    Third: (("gives_the_declared_dtype_and_shape",), "got float16 (1, 3, 1, 1)"),
    ChannelsLast: (("gives_the_declared_dtype_and_shape",), "(B, channels, H, W), got float16"),
    Arrays: (("gives_the_declared_dtype_and_shape",), "got ndarray"),
    InPlace: (("leaves_its_input_unchanged",), "the batch was changed"),
    Logarithm: (
        ("gives_finite_features", "encodes_the_corners_of_the_colour_cube"), "mind logarithms"
    ),
    Overflow: (("encodes_the_corners_of_the_colour_cube",), "the range of float16"),
    Standardised: (("encodes_each_image_on_its_own",), "nothing of the other images"),
    Storage: (("ignores_the_layout_in_memory",), "stored as channels last"),
    Viewed: (("ignores_the_layout_in_memory",), "got RuntimeError: view size"),
    Constant: (("tells_images_apart",), "from batch.images"),
    Padded: (("takes_images_of_any_size",), "an image of one pixel: expected a result"),
    Dithered: (
        ("leaves_global_random_state_alone", "repeats_a_run_with_the_same_seed"), "determinism"
    ),
    FirstRange: (("keeps_nothing_between_runs",), "worked on something else before"),
    NoChannels: (("declares_channels_and_dtype",), "an integer from 1, got '2'"),
    Double: (("declares_channels_and_dtype",), "'float16', 'float32', got 'float64'"),
    CatchesAll: (("lets_ctrl_c_through",), "KeyboardInterrupt to pass through, got it went on"),
}  # fmt: skip


# --- foreground rules ------------------------------------------------------------------------


def answering(**changes: Callable[[covary.Foreground], Any]) -> type[Centre]:
    """A rule with other fields in its answer."""

    class Answering(Centre):
        """Another answer."""

        def answer(self, clusters: ClusterMap, shares: torch.Tensor) -> Any:
            found = super().answer(clusters, shares)
            return replace(found, **{name: change(found) for name, change in changes.items()})

    return Answering


class MaskAlone(Centre):
    """Returns the mask."""

    def answer(self, clusters: ClusterMap, shares: torch.Tensor) -> Any:
        return super().answer(clusters, shares).mask


class DividesByZero(Centre):
    """NaN for clusters without pixels."""

    def pixels(self, clusters: ClusterMap) -> torch.Tensor:
        return clusters.counts


class Ranks(Centre):
    """Chooses the clusters above the mean of all, empty ones included."""

    def answer(self, clusters: ClusterMap, shares: torch.Tensor) -> Any:
        low = shares >= shares.mean()
        return covary.Foreground.from_clusters(clusters, low, shares, "above the mean")


class Nothing(Centre):
    """Never finds anything."""

    def answer(self, clusters: ClusterMap, shares: torch.Tensor) -> Any:
        return super().answer(clusters, shares * 0)


class Relabels(Centre):
    """Numbers the clusters anew, in the map that it was given."""

    def shares(self, clusters: ClusterMap) -> torch.Tensor:
        shares = super().shares(clusters)
        clusters.labels.clamp_(max=0)
        return shares


class TwoClusters(Centre):
    """Compares the second cluster with the first."""

    def shares(self, clusters: ClusterMap) -> torch.Tensor:
        shares = super().shares(clusters)
        return shares * (1 if clusters.centers[1] is not None else 0)


class Unchecked(Centre):
    """Averages the image's pixels by labels without a look at its size."""

    def select(self, clusters: ClusterMap, image: torch.Tensor, ctx: Any = None) -> Any:
        grey = image.float().mean(dim=0).reshape(-1)
        sums = torch.zeros(clusters.k).index_add_(0, clusters.labels.reshape(-1).long(), grey)
        return self.answer(clusters, sums / clusters.counts.clamp(min=1) / 255)


class Flat(Centre):
    """Wants labels that lie side by side."""

    def shares(self, clusters: ClusterMap) -> torch.Tensor:
        labels = clusters.labels.view(-1).view(clusters.labels.shape)
        return super().shares(replace(clusters, labels=labels))


class NeedsContext(Centre):
    """Asks a context that may not be there."""

    def select(self, clusters: ClusterMap, image: torch.Tensor, ctx: Any = None) -> Any:
        ctx.generator()
        return super().select(clusters, image, ctx)


class Guesses(Centre):
    """Draws from Python's global state."""

    def shares(self, clusters: ClusterMap) -> torch.Tensor:
        return super().shares(clusters) * random.uniform(0.5, 1.5)


class Beyond(Centre):
    """Its box ends a pixel outside."""

    def regions(self, image: torch.Tensor, ctx: Any = None) -> Any:
        return [Box(0, 0, image.shape[2] + 1, image.shape[1])]


class Tuples(Centre):
    """Its boxes are tuples."""

    def regions(self, image: torch.Tensor, ctx: Any = None) -> Any:
        return [(0, 0, 5, 5)]


RULES = {
    MaskAlone: (("returns_a_foreground",), "covary.Foreground, got Tensor"),
    answering(mask=lambda f: f.mask.float()): (
        ("returns_a_foreground",), "mask of the foreground: expected bool (1, 1), got float32"
    ),
    answering(scores=lambda f: f.scores.double()): (("returns_a_foreground",), "got float64"),
    answering(clusters=lambda f: f.clusters.nonzero()[:, 0]): (
        ("returns_a_foreground",), "clusters of the foreground: expected bool"
    ),
    answering(mask=lambda f: ~f.mask): (("masks_the_chosen_clusters",), "pixels differ"),
    answering(mask=lambda f: f.mask.flip(1)): (("masks_the_chosen_clusters",), "the mask"),
    answering(found=lambda f: True): (
        ("finds_neither_nothing_nor_everything", "takes_a_single_cluster"), "got True"
    ),
    answering(reason=lambda f: ""): (("gives_a_reason",), "a sentence"),
    answering(confidence=lambda f: f.confidence.double()): (
        ("returns_a_foreground",), "confidence of the foreground: expected float32"
    ),
    answering(confidence=lambda f: f.confidence * 100): (("gives_confidences",), "in 0..1"),
    answering(confidence=lambda f: f.confidence * float("nan")): (
        ("gives_confidences",), "got [nan"
    ),
    answering(names=lambda f: ("content",)): (("names_every_cluster_or_none",), "('content',)"),
    DividesByZero: (("gives_finite_scores",), "an empty cluster"),
    Ranks: (("takes_clusters_without_pixels",), "out of averages"),
    Nothing: (("finds_something_in_some_scene",), "for this reason: no cluster qualifies"),
    Relabels: (("leaves_its_input_unchanged",), "the labels was changed"),
    TwoClusters: (("takes_a_single_pixel", "takes_a_single_cluster"), "got IndexError"),
    Unchecked: (("refuses_an_image_of_another_size",), "got another result"),
    Flat: (("ignores_the_layout_in_memory",), "got RuntimeError: view size"),
    NeedsContext: (("works_without_a_context",), "AttributeError"),
    Guesses: (("leaves_global_random_state_alone",), "of random was used"),
    Beyond: (("works_in_boxes_inside_the_image",), "inside the image, x in 0..40"),
    Tuples: (("works_in_boxes_inside_the_image",), "a list of covary.Box"),
}  # fmt: skip


# --- detectors and landmark detectors ----------------------------------------------------------


def detecting(**changes: Any) -> type[Bright]:
    """A detector with another box, label or score."""

    class Detecting(Bright):
        """Another answer."""

        def answer(self, ends: Any, share: float) -> Any:
            return [replace(found, **changes) for found in super().answer(ends, share)]

    return Detecting


class Outside(Bright):
    """Its boxes end where the last pixel's neighbour does."""

    def answer(self, ends: Any, share: float) -> Any:
        return super().answer((ends[0], ends[1], ends[2] + 1, ends[3] + 1), share)


class BoxesAlone(Bright):
    """Its detections are boxes."""

    def answer(self, ends: Any, share: float) -> Any:
        return [Box(*ends)]


class Generates(Bright):
    """Its detections are a generator."""

    def answer(self, ends: Any, share: float) -> Any:
        return (found for found in super().answer(ends, share))


class NoneFound(Bright):
    """None where there is nothing."""

    def nothing(self) -> Any:
        return None


class Scales(Bright):
    """Divides by the range of the image."""

    def grey(self, image: torch.Tensor) -> torch.Tensor:
        grey = super().grey(image)
        return (grey - grey.min()).long() * 255 // (grey.max() - grey.min()).long()


class TakesAnything(Bright):
    """Does not look at what it is given."""

    def grey(self, image: torch.Tensor) -> torch.Tensor:
        return image.double().mean(dim=0)


class Stretches(Bright):
    """Stretches the contrast of the image itself."""

    def grey(self, image: torch.Tensor) -> torch.Tensor:
        grey = super().grey(image)
        image.sub_(image.min())
        return grey


class Samples(Bright):
    """Looks at some pixels, chosen by numpy's global state."""

    def grey(self, image: torch.Tensor) -> torch.Tensor:
        return super().grey(image) + torch.from_numpy(np.random.rand(*image.shape[1:])) * 50


class InOrder(Bright):
    """Wants rows that lie side by side."""

    def grey(self, image: torch.Tensor) -> torch.Tensor:
        return covary.check_image(image).view(-1).view(image.shape).double().mean(dim=0)


class Transposed(Face):
    """Its points are (2, 5)."""

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        return super().points(grey).T


class Relative(Face):
    """Its points are multiples of what they should be."""

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        return super().points(grey) * 256


class NoNumbers(Face):
    """Divides by a sum that may be none."""

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        return super().points(grey) * float("nan")


class AtOnePlace(Face):
    """All its points are the middle."""

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        return super().points(grey).mean(dim=0).expand(5, 2)


class DoublePoints(Face):
    """Its points are float64."""

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        return super().points(grey).double()


class Stacked(Face):
    """One tensor for all faces."""

    def landmarks(self, image: torch.Tensor, ctx: RunContext | None = None) -> Any:
        return torch.stack([*super().landmarks(image, ctx), torch.zeros(5, 2)])


class NoFace(Face):
    """None where there is no face."""

    def nothing(self) -> Any:
        return None


class Tracks(Face):
    """Takes the mean of this face and the one before."""

    def points(self, grey: torch.Tensor) -> torch.Tensor:
        now = super().points(grey)
        self.before = (getattr(self, "before", now) + now) / 2
        return self.before


class Digests(Face):
    """Says which file it read, not what is in it."""

    def inputs(self) -> dict[str, str]:
        return {"face.pth": "unknown"}


DETECTORS = {
    Outside: (("boxes_lie_inside_the_image",), "clip x0, y0, x1, y1"),
    BoxesAlone: (("returns_detections",), "a list with Box("),
    Generates: (("returns_detections",), "a list of covary.Detection, empty where there are none"),
    NoneFound: (("takes_images_of_any_size",), "got NoneType"),
    Scales: (("takes_images_of_any_size",), "an image of one pixel: expected a result"),
    TakesAnything: (("refuses_what_is_no_image",), "covary.check_image"),
    Stretches: (("leaves_its_input_unchanged",), "the image was changed"),
    Samples: (("leaves_global_random_state_alone",), "of numpy was used"),
    InOrder: (("ignores_the_layout_in_memory",), "view"),
    detecting(score=87.0): (("scores_are_confidences",), "in 0..1, got 87.0"),
    detecting(score=float("nan")): (("scores_are_confidences",), "got nan"),
    detecting(score=torch.tensor(0.5)): (("scores_are_confidences",), "use .item()"),
    detecting(label=17): (("labels_are_text",), "expected text, got 17"),
    Transposed: (("returns_points",), "or (5, 2), got float32 (2, 5)"),
    Relative: (("points_lie_near_the_image",), "scale them back"),
    NoNumbers: (("points_lie_near_the_image",), "nan"),
    AtOnePlace: (("points_of_a_face_are_apart",), "different places"),
    DoublePoints: (("returns_points",), "got float64 (5, 2)"),
    Stacked: (("returns_points",), "got Tensor"),
    NoFace: (("takes_images_of_any_size",), "got NoneType"),
    Tracks: (("keeps_nothing_between_runs",), "another set of points"),
    Digests: (("names_the_files_it_read",), "its sha256"),
}  # fmt: skip


MUTANTS = {**SOURCES, **FEATURES, **RULES, **DETECTORS}


@pytest.mark.parametrize("component", MUTANTS)
def test_a_defect_is_caught_by_name(component: type[covary.Configurable]) -> None:
    checks, words = MUTANTS[component]
    found = wrong(component, *checks)
    assert tuple(found) == checks
    assert words in " ".join(found.values())


class StaysHome(Mosaic):
    """Leaves its variants in main memory."""

    def batches(self, cells: Any, colours: Any, ctx: RunContext) -> Any:
        return super().batches(cells, colours, replace(ctx, device=torch.device("cpu")))


@pytest.mark.parametrize(("component", "good"), [(Mosaic, True), (StaysHome, False)])
def test_variants_left_on_another_device_are_found(component: type[Mosaic], good: bool) -> None:
    class Elsewhere(contract_of(component)):  # type: ignore[misc]
        device = "meta"  # which is on every machine, and holds shapes alone

    (result,) = run_contract(Elsewhere, ["gives_batches_on_the_runs_device"])
    assert result.good is good
    assert good or "expected on meta, the device of the run, got on cpu" in result.message


def test_a_heavy_import_is_found_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_plugin(
        tmp_path,
        "heavy",
        """
        import covary
        import torch

        class Colours(covary.FeatureSpace):
            "The colours."
            dtype = "uint8"

            def encode(self, batch):
                return batch.images

        @covary.hookimpl
        def covary_components():
            yield covary.Component(kind="features", name="heavy", target=f"{__name__}:Colours")
        """,
    )
    monkeypatch.syspath_prepend(tmp_path)
    covary._registry.registry.cache_clear()
    checks = ("imports_nothing_heavy", "is_listed_with_summary_and_licence")
    results = run_contract(contract_for("heavy/heavy"), checks)
    assert [result.outcome for result in results] == ["failed", "failed"]
    assert f"torch imported at {path}:3" in results[0].message
    assert "summary='k-means in the plane'" in results[1].message
