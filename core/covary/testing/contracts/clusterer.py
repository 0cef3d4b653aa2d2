"""The contract of clusterers: against k-means in float64, and properties of any clustering."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from covary import (
    ClusterMap,
    RunContext,
    StyleSummary,
    SupportsInitialCenters,
    SupportsMemoryEstimate,
    SupportsPredict,
)
from covary.testing._errors import ContractError
from covary.testing.contracts._base import (
    Contract,
    describe_shape,
    equal,
    examples,
    require,
    unchanged,
)
from covary.testing.contracts._rules import refuses
from covary.testing.data import blobs, layouts, overlapping
from covary.testing.memory import host_peak, map_large_blocks
from covary.testing.reference import best_inertia, canonical, distances, float64_lloyd
from covary.testing.strategies import seeds

__all__ = ["ClustererContract"]

_DTYPES = (torch.uint8, torch.float16, torch.float32)
_FROM_LABELS = "return ClusterMap.from_labels(...), which checks and sorts them"


class ClustererContract(Contract):
    """What a clusterer keeps to: k-means' objective, canonical ids, and clean manners."""

    kind = "clusterer"

    clusters: ClassVar[str] = "k"
    """The parameter that sets the number of clusters."""

    exact: ClassVar[Mapping[str, Any] | None] = None
    """What more it takes to iterate Lloyd's algorithm until no label changes; None: another one."""

    accuracy: ClassVar[float] = 1e-5
    """Relative error of the inertia that the dtype in which it measures allows."""

    quality: ClassVar[float] = 1.75
    """How many times the best inertia of twenty random starts it may end with.

    A single start of k-means stays below it on the check's data.
    """

    @staticmethod
    def space(pixels: ArrayLike) -> np.ndarray[Any, Any]:
        """The vectors float64 (N, D) that it clusters and measures in, of the pixels (N, D)."""
        return np.asarray(pixels, np.float64)

    # --- for checks ---------------------------------------------------------------------------

    def make(self, k: int, **more: Any) -> Any:
        """The clusterer for k clusters."""
        return self.create(**{self.clusters: k}, **more)

    def fit(self, summary: StyleSummary, k: int, ctx: RunContext | None = None) -> ClusterMap:
        """What it finds, checked for shapes and dtypes."""
        return self.checked(
            self.make(k).fit(self.moved(summary), ctx or self.context()), summary, k
        )

    def fit_from(self, summary: StyleSummary, centers: torch.Tensor, **more: Any) -> ClusterMap:
        """What it finds from given centres; skips the check where it takes none."""
        clusterer = self.make(len(centers), **more)
        if not isinstance(clusterer, SupportsInitialCenters):
            self.skip("it takes no initial centres (fit_from)")
        found = clusterer.fit_from(self.moved(summary), centers.to(self.device), self.context())
        return self.checked(found, summary, len(centers))

    def moved(self, summary: StyleSummary) -> StyleSummary:
        """The summary on the contract's device."""
        return summary.to(self.device)

    def checked(self, found: Any, summary: StyleSummary, k: int) -> ClusterMap:
        """``found`` on the CPU, once its shapes and dtypes are as they should be."""
        require(
            isinstance(found, ClusterMap),
            "what fit returned",
            expected="a covary.ClusterMap",
            got=type(found).__name__,
            fix=_FROM_LABELS,
        )
        labels, centers = found.labels, found.centers
        require(
            labels.dtype == torch.int32 and tuple(labels.shape) == summary.size,
            "labels",
            expected=f"int32 {summary.size}",
            got=describe_shape(labels),
            fix=_FROM_LABELS,
        )
        require(
            centers.dtype == torch.float32 and tuple(centers.shape) == (k, summary.features),
            "centres",
            expected=f"float32 {(k, summary.features)}",
            got=describe_shape(centers),
            fix=_FROM_LABELS,
        )
        require(
            labels.device.type == torch.device(self.device).type,
            "labels",
            expected=f"on {self.device}, the device of the run",
            got=f"on {labels.device}",
            fix="move what it computes to ctx.device",
        )
        require(
            int(labels.min()) >= 0 and int(labels.max()) < k,
            "labels",
            expected=f"values in 0..{k - 1}",
            got=f"{int(labels.min())}..{int(labels.max())}",
            fix=_FROM_LABELS,
        )
        checked: ClusterMap = found.cpu()
        return checked

    # --- what is found ------------------------------------------------------------------------

    @examples(6)
    @given(seed=seeds(), k=st.integers(1, 5))
    def test_finds_distant_groups(self, seed: int, k: int) -> None:
        """Groups of pixels much farther apart than wide are found exactly."""
        summary, truth = blobs(seed, k)
        found = self.fit(summary, k, self.context(seed % 100))
        wrong = int((found.labels.numpy() != canonical(truth)).sum())
        require(
            not wrong,
            f"{k} distant groups",
            expected="each a cluster of its own, with canonical ids",
            got=f"{wrong} of {truth.size} pixels in another cluster",
            fix="more starts or a better initialisation, if it stops in a bad optimum",
        )
        require(found.converged, "converged", expected="True on such data", got="False")

    @examples(8)
    @given(seed=seeds())
    def test_agrees_with_lloyd_in_float64(self, seed: int) -> None:
        """From the same centres it ends where Lloyd's algorithm in float64 does."""
        exact = self._exact()
        summary, start = overlapping(seed)
        labels, _, inertia = float64_lloyd(self.space(summary.data), self.space(start))
        found = self.fit_from(summary, start, **exact)
        self._inertia(found, inertia, 1e-4, "that of Lloyd's algorithm in float64")
        same = float((found.labels.numpy().reshape(-1) == canonical(labels)).mean())
        require(same > 0.99, "labels", expected="as Lloyd's in float64", got=f"{same:.2%} agree")

    @examples(4)
    @given(seed=seeds())
    def test_comes_near_the_best_inertia(self, seed: int) -> None:
        """On overlapping groups its inertia is near the best of twenty starts in float64."""
        summary, start = overlapping(seed)
        best = best_inertia(self.space(summary.data), len(start))
        found = self.fit(summary, len(start))
        inertia = float(self._own_distances(found, summary).sum())
        require(
            inertia <= best * self.quality,
            "inertia of its labels and centres",
            expected=f"at most {self.quality:g} times the best of twenty starts, {best:.6g}",
            got=f"{inertia:.6g}",
            fix="more starts, or set `quality` in the contract to what the method can do",
        )

    def test_reports_the_inertia_of_its_labels(self) -> None:
        """The inertia is the sum of squared distances of the pixels to their centres."""
        for summary, found in self._found_in_each_dtype():
            expected = float(self._own_distances(found, summary).sum())
            self._inertia(found, expected, self.accuracy, "the sum over its labels and centres")

    def test_labels_pixels_by_the_nearest_centre(self) -> None:
        """No pixel is nearer to another cluster's centre than to its own."""
        for summary, found in self._found_in_each_dtype():
            every = distances(self.space(summary.data), found.centers)
            own = self._own_distances(found, summary)
            wrong = int((own > every.min(axis=1) * (1 + 10 * self.accuracy)).sum())
            require(
                not wrong,
                "labels",
                expected="the nearest of the centres that it returns",
                got=f"{wrong} of {len(own)} pixels are nearer to another",
                fix="assign once more after the last update of the centres",
            )

    def test_centres_are_the_means_of_their_pixels(self) -> None:
        """A centre is the mean of its cluster's pixels, up to the stop rule's tolerance."""
        self._exact()
        for summary, found in self._found_in_each_dtype():
            vectors = self.space(summary.data)
            labels = found.labels.reshape(-1).numpy()
            for label in range(found.k):
                mean = vectors[labels == label].mean(axis=0)
                off = np.abs(found.centers[label].double().numpy() - mean)
                allowed = 0.02 * np.abs(mean) + 0.0025 * np.ptp(vectors)
                require(
                    bool((off <= allowed).all()),
                    f"centre {label}",
                    expected="the mean of its pixels",
                    got=f"off by up to {off.max():.3g}",
                )

    # --- invariances --------------------------------------------------------------------------

    @examples(5)
    @given(seed=seeds())
    def test_ignores_the_order_of_the_variants(self, seed: int) -> None:
        """Permuting the features changes no label."""
        summary, _ = blobs(seed, 4, features=9)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(9))
        permuted = StyleSummary(summary.data[:, order], summary.size)
        self._same_labels(self.fit(summary, 4), self.fit(permuted, 4), "features were permuted")

    @examples(5)
    @given(seed=seeds(), shift=st.floats(-500, 500))
    def test_ignores_a_translation(self, seed: int, shift: float) -> None:
        """Adding one number to all features changes no label."""
        summary, _ = blobs(seed, 3)
        moved = StyleSummary(summary.data + shift, summary.size)
        self._same_labels(self.fit(summary, 3), self.fit(moved, 3), "all features were shifted")

    @examples(6)
    @given(seed=seeds(), dtype=st.sampled_from(_DTYPES))
    def test_ignores_the_layout_in_memory(self, seed: int, dtype: torch.dtype) -> None:
        """Planar, pixel-major and strided summaries of the same values give the same result."""
        values = np.random.default_rng(seed).integers(0, 200, (7 * 9, 5))
        first, *others = (
            self.fit(StyleSummary(data, (7, 9)), 3)
            for data in layouts(torch.from_numpy(values).to(dtype)).values()
        )
        for other in others:
            self._same_labels(first, other, "the layout in memory changed")
            torch.testing.assert_close(first.centers, other.centers)

    @examples(6)
    @given(seed=seeds(), k=st.integers(1, 6), side=st.integers(3, 9))
    def test_gives_canonical_ids(self, seed: int, k: int, side: int) -> None:
        """Cluster ids go by falling size, ties by first pixel."""
        rng = np.random.default_rng(seed)
        matrix = rng.standard_normal((side * side, 4)).astype(np.float32)
        found = self.fit(StyleSummary.from_matrix(matrix, (side, side)), k)
        labels = found.labels.numpy()
        require(
            bool((labels == canonical(labels)).all()),
            "cluster ids",
            expected="canonical: by falling size, ties by first pixel",
            got=f"sizes {found.counts.tolist()}",
            fix=_FROM_LABELS,
        )

    # --- manners ------------------------------------------------------------------------------

    def test_repeats_a_run_with_the_same_seed(self) -> None:
        """Two fits with one seed agree as far as its `determinism` declares."""
        summary, _ = overlapping(11)
        a, b = (self.fit(summary, 4, self.context(9)) for _ in range(2))
        level = self.make(4).determinism
        same = equal(a.labels, b.labels, level) and equal(a.centers, b.centers, level)
        require(
            same and (level != "bitwise" or a.inertia == b.inertia),
            "two fits with the same seed",
            expected=f"the same result, as it declares determinism {level!r}",
            got=f"{int((a.labels != b.labels).sum())} of {a.labels.numel()} labels, "
            f"inertia {a.inertia!r} and {b.inertia!r}",
            fix="draw from ctx.generator(), or declare determinism = 'numeric' or 'none'",
        )

    def test_keeps_nothing_between_fits(self) -> None:
        """Fitting another image in between does not change a result."""
        one, other = overlapping(1)[0], overlapping(2)[0]
        clusterer = self.make(4)
        if clusterer.determinism == "none":
            self.skip("it declares no determinism")
        first, _, again = (
            self.checked(clusterer.fit(self.moved(image), self.context()), image, 4)
            for image in (one, StyleSummary(other.data * 3 + 50, other.size), one)
        )
        level = clusterer.determinism
        same = equal(first.labels, again.labels, level) and equal(
            first.centers, again.centers, level
        )
        require(
            same,
            "the same image fitted twice, another in between",
            expected="the same result",
            got=f"{int((first.labels != again.labels).sum())} labels differ, inertia "
            f"{first.inertia:.9g} and {again.inertia:.9g}",
            fix="keep what a fit computes in local variables, not on self",
        )

    def test_works_without_a_context(self) -> None:
        """fit(summary) alone means a default context on the summary's device."""
        summary, _ = blobs(3, 3)
        alone = self.checked(self.make(3).fit(self.moved(summary)), summary, 3)
        self._same_labels(self.fit(summary, 3), alone, "the context was left out")

    def test_moves_between_devices(self) -> None:
        """A summary and centres in main memory are fitted on the run's own device."""
        if self.device == "cpu":
            self.skip("the contract runs on the CPU alone")
        summary, start = overlapping(1)
        clusterer = self.make(len(start))
        found = self.checked(clusterer.fit(summary, self.context()), summary, len(start))
        self._same_labels(self.fit(summary, len(start)), found, "the summary was in main memory")
        if isinstance(clusterer, SupportsInitialCenters):
            there = clusterer.fit_from(self.moved(summary), start, self.context())
            self.checked(there, summary, len(start))

    def test_leaves_the_summary_unchanged(self) -> None:
        """The summary's values are the same after a fit."""
        clusterer = self.make(3)
        for dtype in _DTYPES:
            data = torch.rand((200, 5), generator=torch.Generator().manual_seed(1)) * 99
            summary = self.moved(StyleSummary(data.to(dtype), (10, 20)))
            with unchanged(summary.data, "the summary"):
                clusterer.fit(summary, self.context())

    def test_leaves_global_random_state_alone(self) -> None:
        """It draws no number from a global generator, and seeds none."""
        summary, _ = blobs(0, 3)
        clusterer = self.make(3)
        with self.leaving_random_state_alone():
            clusterer.fit(self.moved(summary), self.context())

    def test_finds_the_same_when_pickled(self) -> None:
        """Pickled and read back it finds the same clusters."""
        summary, _ = blobs(5, 7)  # seven is nobody's default
        again = pickle.loads(pickle.dumps(self.make(7)))  # noqa: S301  (our own bytes)
        found = self.checked(again.fit(self.moved(summary), self.context()), summary, 7)
        self._same_labels(self.fit(summary, 7), found, "it was pickled and read back")

    def test_lets_ctrl_c_through(self) -> None:
        """KeyboardInterrupt while the summary is read stops it."""
        summary, _ = blobs(0, 3)
        runs: list[Callable[[Any], Any]] = [self.make(3).fit]
        if isinstance(self.make(3), SupportsInitialCenters):
            runs.append(lambda interrupted: self.make(3).fit_from(interrupted, summary.data[:3]))
        for run in runs:
            try:
                run(_interrupted(summary))
            except KeyboardInterrupt:
                continue
            raise ContractError(
                "Ctrl-C while it reads the summary",
                expected="KeyboardInterrupt to pass through",
                got="it went on",
                fix="catch Exception, never BaseException or everything",
            )

    def test_says_how_much_memory_it_takes(self) -> None:
        """What `memory` predicts covers the memory that a fit takes."""
        clusterer, size, features = self.make(4), (320, 320), 48
        estimate = self._estimate(clusterer, size, features)
        rng = np.random.default_rng(0)
        # Of four colours, so that it takes few passes.
        colours = rng.integers(0, 240, (features, 4), np.uint8)[:, rng.integers(0, 4, 320 * 320)]
        planes = torch.from_numpy(colours + rng.integers(0, 16, colours.shape, np.uint8))
        clusterer.fit(StyleSummary(planes[:, :400].T, (20, 20)))  # loads what it loads only once
        map_large_blocks()
        with host_peak() as peak:
            clusterer.fit(StyleSummary(planes.T, size))
        assert peak.bytes is not None  # noqa: S101  (for the type checker)
        # Libraries keep pools of some MiB, which is no matter beside an image.
        require(
            peak.bytes <= 1.25 * estimate + 2**24,
            "memory(size, features)",
            expected=f"at least what a fit of {size[0]}x{size[1]} pixels, D = {features} takes: "
            f"{peak.bytes / 2**20:.0f} MiB",
            got=f"{estimate / 2**20:.0f} MiB",
            fix="count every array of N rows; read the summary by `rows` to need fewer",
        )

    # --- hard cases ---------------------------------------------------------------------------

    def test_refuses_more_clusters_than_distinct_pixels(self) -> None:
        """More clusters than distinct pixels are an InputError that says how many there are."""
        data = torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0], [3.0, 9.0, 4.0]]).repeat(4, 1)
        summary = StyleSummary(data, (3, 4))
        inertia = self.fit(summary, 2).inertia
        require(inertia <= 1e-6, "inertia of two colours, k = 2", expected="0", got=f"{inertia}")
        fix = "raise covary.InputError('k = 3', expected='at most 2, ...', fix='lower k')"
        refuses(lambda: self.fit(summary, 3), "three clusters of two colours", fix, words="2")
        if isinstance(self.make(3), SupportsInitialCenters):
            start = torch.zeros(3, 3)
            refuses(
                lambda: self.fit_from(summary, start), "three centres, two colours", fix, words="2"
            )

    def test_refuses_more_clusters_than_pixels(self) -> None:
        """More clusters than pixels are an InputError that says how many pixels there are."""
        data = torch.randn((4, 3), generator=torch.Generator().manual_seed(0))
        refuses(
            lambda: self.fit(StyleSummary(data, (2, 2)), 5),
            "five clusters of four pixels",
            "raise covary.InputError('k = 5', expected='at most 4, ...', fix='lower k')",
            words="4",
        )

    def test_takes_a_constant_image(self) -> None:
        """An image of one colour is one cluster; two are refused."""
        for size in ((1, 1), (6, 7)):
            data = torch.full((size[0] * size[1], 3), 7, dtype=torch.uint8)
            summary = StyleSummary(data, size)
            found = self.fit(summary, 1)
            # A running mean of equal numbers rounds.
            allowed = 1e-6 if self.exact is None else 0
            require(found.inertia <= allowed, "inertia", expected="0", got=str(found.inertia))
            np.testing.assert_allclose(found.centers, self.space([[7, 7, 7]]), rtol=allowed)
            refuses(
                partial(self.fit, summary, 2),
                "two clusters of one colour",
                "raise covary.InputError('k = 2', expected='at most 1, ...', fix='lower k')",
            )
            if isinstance(self.make(1), SupportsInitialCenters):
                again = self.fit_from(summary, found.centers + 1)
                require(again.inertia <= allowed, "inertia from a centre beside it", expected="0",
                        got=str(again.inertia))  # fmt: skip

    def test_takes_a_single_pixel(self) -> None:
        """An image of one pixel is one cluster with that pixel as its centre."""
        found = self.fit(StyleSummary(torch.tensor([[3.0, 1.0, 4.0]]), (1, 1)), 1)
        require(found.labels.tolist() == [[0]], "labels", expected="[[0]]", got=str(found.labels))
        np.testing.assert_allclose(found.centers, self.space([[3.0, 1.0, 4.0]]), rtol=1e-3)

    def test_takes_as_many_clusters_as_pixels(self) -> None:
        """With a cluster for each pixel the fit is perfect."""
        self._exact()
        values = torch.tensor([[9, 0, 0, 1], [0, 9, 0, 2], [0, 0, 9, 3], [9, 9, 0, 4]])
        for dtype in _DTYPES:
            data = values.to(dtype)
            found = self.fit(StyleSummary(data, (2, 2)), 4)
            labels = found.labels.tolist()
            require(labels == [[0, 1], [2, 3]], "labels", expected="[[0, 1], [2, 3]]",
                    got=str(labels))  # fmt: skip
            require(found.inertia <= 1e-4, "inertia", expected="0", got=str(found.inertia))
            np.testing.assert_allclose(found.centers, self.space(data), atol=1e-3)

    @examples(10)
    @given(seed=seeds(), k=st.integers(1, 5), spare=st.integers(0, 2))
    def test_takes_hardly_more_colours_than_clusters(self, seed: int, k: int, spare: int) -> None:
        """Few distinct colours leave no centre without a number, and the inertia right."""
        rng = np.random.default_rng(seed)
        colours = rng.permutation(256)[: 4 * (k + spare)].reshape(-1, 4)
        picks = np.concatenate([np.arange(k + spare), rng.integers(0, k + spare, 60 - k - spare)])
        summary = StyleSummary.from_matrix(colours[picks].astype(np.uint8), (6, 10))
        beyond = 300.0 + torch.arange(k)[:, None] * torch.arange(1, 5)
        with warnings.catch_warnings(action="ignore"):  # about so few colours, which is expected
            results = [self.fit(summary, k)]
            if isinstance(self.make(k), SupportsInitialCenters):
                results.append(self.fit_from(summary, beyond))
        for found in results:
            self._finite(found)
            expected = float(self._own_distances(found, summary).sum())
            off = abs(found.inertia - expected)
            require(off <= max(1e-2 * expected, 1e-2), "inertia", expected=f"{expected:.6g}",
                    got=f"{found.inertia:.6g}")  # fmt: skip

    def test_refuses_values_whose_distances_overflow(self) -> None:
        """Values whose squared distances no float32 can hold are an InputError."""
        if type(self).space is not ClustererContract.space:
            self.skip("it does not compare the values as they are")
        data = torch.tensor([[1e30, 0.0], [-1e30, 5.0], [3e30, 1.0], [2e29, 9.0]])
        with warnings.catch_warnings(action="ignore"):  # about the overflow, which is expected
            refuses(
                lambda: self.fit(StyleSummary(data, (2, 2)), 2),
                "values up to 3e30",
                "raise covary.InputError(..., fix='scale the data down first')",
                words="scale the data",
            )

    # --- initial centres and other abilities --------------------------------------------------

    def test_refuses_initial_centres_that_do_not_fit(self) -> None:
        """Initial centres of another shape, or not finite, are an InputError that says so."""
        summary, _ = blobs(0, 4)
        clusterer = self.make(4)
        if not isinstance(clusterer, SupportsInitialCenters):
            self.skip("it takes no initial centres (fit_from)")
        for centers, message in (
            (torch.zeros(3, 6), "(3, 6)"),
            (torch.zeros(4, 5), "(4, 5)"),
            (torch.zeros(24), "(24,)"),
            (torch.full((4, 6), float("nan")), "finite"),
        ):
            refuses(
                partial(clusterer.fit_from, self.moved(summary), centers.to(self.device)),
                f"centres {tuple(centers.shape)} for k = 4, D = 6",
                "raise covary.InputError('initial centres', expected='shape (4, 6)', got=...)",
                words=message,
            )

    @examples(8)
    @given(seed=seeds(), far=st.sampled_from([0.0, 1e2, 1e4]))
    def test_fills_clusters_that_attract_no_pixel(self, seed: int, far: float) -> None:
        """From centres that attract no pixel it still ends with k clusters, none empty."""
        summary, start = overlapping(seed)
        start = start[:1].repeat(5, 1)
        start[1:] += far * torch.arange(1, 10)
        found = self.fit_from(summary, start)
        self._finite(found)
        require(
            int(found.counts.min()) > 0,
            "clusters from centres far away",
            expected="five, none of them empty",
            got=f"sizes {found.counts.tolist()}",
            fix="give an empty cluster the pixel that is farthest from its centre",
        )
        own = distances(self.space(summary.data), found.centers).min(axis=1)
        self._inertia(found, float(own.sum()), 1e-4, "the sum over its labels and centres")

    def test_leaves_the_initial_centres_unchanged(self) -> None:
        """The centres that it starts from are the same afterwards."""
        summary, start = overlapping(4)
        with unchanged(start, "the tensor of initial centres"):
            self.fit_from(summary, start)

    def test_predicts_the_nearest_centre(self) -> None:
        """predict labels another image's pixels by the nearest of the centres."""
        (one, _), (other, _) = blobs(0, 3), blobs(1, 3)
        centers = self.make(3).fit(self.moved(one), self.context()).centers
        clusterer = self.make(3)
        if not isinstance(clusterer, SupportsPredict):
            self.skip("it does not label other images (predict)")
        labels = clusterer.predict(self.moved(other), centers, self.context()).cpu()
        require(
            labels.dtype == torch.int32 and tuple(labels.shape) == other.size,
            "labels of predict",
            expected=f"int32 {other.size}",
            got=describe_shape(labels),
        )
        nearest = distances(self.space(other.data), centers.cpu()).argmin(axis=1)
        wrong = int((labels.reshape(-1).numpy() != nearest).sum())
        got = f"{wrong} of {len(nearest)} others"
        require(not wrong, "labels of predict", expected="the nearest centres", got=got)

    # --- helpers ------------------------------------------------------------------------------

    def _estimate(self, clusterer: Any, size: tuple[int, int], features: int) -> int:
        if not isinstance(clusterer, SupportsMemoryEstimate):
            self.skip("it gives no estimate (memory)")
        if self.device != "cpu":
            self.skip("main memory alone is measured")
        return clusterer.memory(size, features)

    def _exact(self) -> Mapping[str, Any]:
        if self.exact is None:
            self.skip("it is not Lloyd's algorithm (the contract's `exact` is None)")
        return self.exact

    def _found_in_each_dtype(self) -> list[tuple[StyleSummary, ClusterMap]]:
        rng = np.random.default_rng(5)
        values = torch.from_numpy(rng.integers(0, 200, (7, 300)).astype(np.float32))
        summaries = [StyleSummary(values.to(dtype).T, (15, 20)) for dtype in _DTYPES]
        return [(summary, self.fit(summary, 4)) for summary in summaries]

    def _own_distances(self, found: ClusterMap, summary: StyleSummary) -> np.ndarray[Any, Any]:
        labels = found.labels.reshape(-1).numpy()
        own: np.ndarray[Any, Any] = distances(self.space(summary.data), found.centers)[
            np.arange(len(labels)), labels
        ]
        return own

    def _inertia(self, found: ClusterMap, expected: float, rel: float, which: str) -> None:
        require(
            abs(found.inertia - expected) <= rel * abs(expected) + 1e-12,
            "inertia",
            expected=f"{expected:.8g}, {which}",
            got=f"{found.inertia:.8g}",
            fix="sum squared distances in float64, after the last assignment",
        )

    def _finite(self, found: ClusterMap) -> None:
        require(
            bool(torch.isfinite(found.centers).all()),
            "centres",
            expected="finite numbers",
            got="NaN or infinity",
            fix="do not divide by the size of an empty cluster",
        )

    def _same_labels(self, a: ClusterMap, b: ClusterMap, after: str) -> None:
        different = int((a.labels != b.labels).sum())
        require(
            not different,
            f"labels after {after}",
            expected="the same",
            got=f"{different} of {a.labels.numel()} differ",
        )


class _Interrupted(StyleSummary):
    """Whoever reads it, in whichever way, is interrupted."""

    interrupting = False

    @property
    def data(self) -> torch.Tensor:
        if self.interrupting:
            raise KeyboardInterrupt
        return self.kept

    @data.setter
    def data(self, data: torch.Tensor) -> None:
        self.kept = data


def _interrupted(summary: StyleSummary) -> StyleSummary:
    found = _Interrupted(summary.data, summary.size)
    found.interrupting = True
    return found
