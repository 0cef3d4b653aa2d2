"""The CUDA engine against k-means in plain numpy: run by ``test_triton_lloyd``, never collected.

Where ``TRITON_INTERPRET=1`` is set the kernels run in Triton's interpreter, else on a GPU. Triton
reads that variable when it is imported, which is why these cases have a process of their own.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import StyleSummary
from covary.testing.strategies import seeds
from covary_plugins.clusterers import _triton_engine
from covary_plugins.clusterers._lloyd import iterate
from covary_plugins.clusterers._torch_engine import TorchEngine
from covary_plugins.clusterers._triton_engine import Tiling, TritonEngine

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
DTYPES = (torch.uint8, torch.float16, torch.float32)
LAYOUTS = ("planar", "pixel-major", "gaps")


def summary_of(values, dtype=torch.float32, layout="planar"):
    """(N, D) on the device, stored so; and what is stored, in float64."""
    data = torch.from_numpy(np.asarray(values, np.float32)).to(dtype)
    stored = {
        "planar": data.T.contiguous().T,
        "pixel-major": data.contiguous(),
        "gaps": torch.stack([data, 0 * data], dim=2)[..., 0],
    }[layout]
    kept = torch.empty_strided(stored.shape, stored.stride(), dtype=dtype, device=DEVICE)
    summary = StyleSummary(kept.copy_(stored), (len(data), 1))
    return summary, data.double().numpy()


def mixture(seed, pixels=150, features=9, k=3, spread=25.0):
    """Overlapping clusters of whole numbers in 0..250, and starts (2, K, D) close to pixels.

    Not at pixels: whole numbers can be as far from one as from another, and rounding decides.
    """
    rng = np.random.default_rng(seed)
    parts = rng.uniform(60, 190, (k, features))
    values = parts[rng.integers(0, k, pixels)] + spread * rng.standard_normal((pixels, features))
    values = values.clip(0, 250).round()
    starts = np.stack([values[rng.choice(pixels, k, replace=False)] for _ in range(2)])
    return values, starts + rng.uniform(0.1, 0.9, starts.shape)


def engine_of(summary, of=TritonEngine):
    """The engine, relative to the mean, which is given in float64 too."""
    offset = summary.data.double().mean(dim=0).float()
    return of(summary, offset), offset.double().cpu().numpy()


def relative(starts, offset):
    return torch.from_numpy(np.asarray(starts, np.float64) - offset).to(DEVICE)


def squared(x, centers):
    return ((x[:, None] - centers[None]) ** 2).sum(axis=2)


def numpy_lloyd(x, centers, tol, max_iter):
    """Labels, centres, passes, converged: the stop rule in float64, no cluster ever empty."""
    labels, settled = np.full(len(x), -1), False
    for passes in range(1, max_iter + 2):
        new = squared(x, centers).argmin(axis=1)
        moved, labels = (new != labels).sum(), new
        if moved == 0 or settled:
            return labels, centers, passes, True
        if passes <= max_iter:
            means = np.stack([x[labels == i].mean(axis=0) for i in range(len(centers))])
            settled = ((means - centers) ** 2).sum() <= tol
            centers = means
    return labels, centers, passes, False


# --- one pass ----------------------------------------------------------------------------------


def check_pass(values, starts, dtype, layout):
    """Labels, sums, counts and relabelled pixels of one pass of every start, and of another."""
    summary, x = summary_of(values, dtype, layout)
    engine, offset = engine_of(summary)
    runs = _triton_engine._TritonRuns(relative(starts, offset), engine)
    k, everyone = starts.shape[1], list(range(len(starts)))
    assert runs.assign(everyone) == [len(x)] * len(starts)
    for run, centers in enumerate(starts):
        distances = squared(x, centers)
        labels = runs.labels[run].cpu().numpy()
        own = distances[np.arange(len(x)), labels]
        assert (own <= distances.min(axis=1) * (1 + 1e-5) + 1e-3).all()
        counts = np.bincount(labels, minlength=k)
        assert (runs.counts[run].cpu().numpy() == counts).all()
        sums = np.stack([(x[labels == i] - offset).sum(axis=0) for i in range(k)])
        np.testing.assert_allclose(runs.sums[run].cpu().numpy(), sums, rtol=1e-5, atol=0.02)
    before = runs.labels[-1].clone()
    runs.labels[-1, : len(x) // 2] = k  # another label, whatever it was
    assert runs.assign([len(starts) - 1]) == [len(x) // 2]
    assert torch.equal(runs.labels[-1], before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pass_over_the_usual_shape(dtype, layout):
    values, starts = mixture(1, pixels=333, features=150)
    check_pass(values, starts, dtype, layout)


@settings(max_examples=12)
@given(
    seed=seeds(),
    pixels=st.integers(1, 300),
    features=st.integers(1, 70),
    k=st.integers(1, 7),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(LAYOUTS),
)
def test_a_pass_over_any_shape(seed, pixels, features, k, dtype, layout):
    values, starts = mixture(seed, pixels, features, min(k, pixels))
    check_pass(values, starts, dtype, layout)


@pytest.mark.parametrize(
    ("features", "k", "dtype"),
    [(330, 3, torch.float16), (90, 64, torch.uint8), (40, 33, torch.float32)],
)
def test_a_pass_over_what_does_not_fit_on_chip(features, k, dtype):
    assert not Tiling.choose(features, k, dtype).fused
    values, starts = mixture(3, 100, features, k)
    check_pass(values, starts[:1], dtype, "planar")


# --- whole runs --------------------------------------------------------------------------------


@settings(max_examples=8)
@given(
    seed=seeds(),
    dtype=st.sampled_from(DTYPES),
    tol=st.sampled_from([0.0, 30.0]),
    max_iter=st.sampled_from([1, 3, 100]),
)
def test_runs_are_those_of_float64(seed, dtype, tol, max_iter):
    values, starts = mixture(seed, pixels=130, features=5, spread=15)
    summary, x = summary_of(values, dtype)
    engine, offset = engine_of(summary)
    found = engine.lloyd(relative(starts, offset), tol=tol, max_iter=max_iter)
    runs = [numpy_lloyd(x, start, tol, max_iter) for start in starts]
    inertias = [squared(x, run[1])[np.arange(len(x)), run[0]].sum() for run in runs]
    labels, centers, passes, converged = runs[int(np.argmin(inertias))]
    assert found.inertia == pytest.approx(min(inertias), rel=1e-5)
    if max(inertias) < min(inertias) * (1 + 1e-4):
        return  # equally good: either may be the best
    assert (found.labels.cpu().numpy() == labels).all()
    np.testing.assert_allclose(found.centers.cpu().numpy() + offset, centers, atol=1e-3)
    assert (found.iterations, found.converged) == (passes, converged)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_clusters_are_filled_as_by_the_torch_engine(dtype):
    values, starts = mixture(5, features=4)
    starts[0, 1:] = 1e4
    starts[1, 2] = -1e4
    summary, _ = summary_of(values, dtype)
    ours, offset = engine_of(summary)
    theirs, _ = engine_of(summary, TorchEngine)
    for start in (starts[:1], starts[1:]):
        own, other = (
            engine.lloyd(relative(start, offset), tol=0.0, max_iter=100)
            for engine in (ours, theirs)
        )
        assert torch.equal(own.labels, other.labels)
        assert (own.iterations, own.converged) == (other.iterations, True)
        assert len(own.labels.unique()) == 3
        torch.testing.assert_close(own.centers, other.centers, rtol=0, atol=1e-3)
    both = ours.lloyd(relative(starts, offset), tol=0.0, max_iter=100)
    assert both.inertia <= own.inertia * (1 + 1e-6)


def test_fewer_colours_than_clusters_end():
    summary, _ = summary_of(np.full((70, 3), 9.0))
    engine, offset = engine_of(summary)
    found = engine.lloyd(relative(np.zeros((1, 4, 3)), offset), tol=0.0, max_iter=50)
    assert found.inertia == 0
    assert found.converged
    assert bool(torch.isfinite(found.centers).all())


def test_the_host_may_lead_and_the_result_is_the_same():
    values, starts = mixture(6)
    summary, _ = summary_of(values, torch.float16)
    engine, offset = engine_of(summary)
    alone = engine.lloyd(relative(starts, offset), tol=1.0, max_iter=100)
    runs = _triton_engine._TritonRuns(relative(starts, offset), engine)
    led = iterate(runs, tol=1.0, max_iter=100)
    assert torch.equal(alone.labels, led.labels)
    assert torch.equal(alone.centers, led.centers)
    assert alone[2:] == led[2:]


def test_twice_the_same_to_the_bit():
    values, starts = mixture(7, pixels=400)
    summary, _ = summary_of(values, torch.float16)
    engine, offset = engine_of(summary)
    a, b = (engine.lloyd(relative(starts, offset), tol=0.0, max_iter=4) for _ in range(2))
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.centers, b.centers)
    assert a.inertia == b.inertia


# --- precision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, 1e5), (torch.float16, 2000.0)])
def test_data_far_from_zero_lose_nothing_but_their_own_rounding(dtype, far):
    values, starts = mixture(8, pixels=200, spread=40)
    summary, x = summary_of(values / 4 + far, dtype)
    engine, offset = engine_of(summary)
    found = engine.lloyd(relative(starts[:1] / 4 + far, offset), tol=0.0, max_iter=100)
    labels, centers, _, _ = numpy_lloyd(x, starts[0] / 4 + far, 0.0, 100)
    assert found.inertia == pytest.approx(squared(x, centers).min(axis=1).sum(), rel=1e-4)
    assert (found.labels.cpu().numpy() == labels).mean() > 0.99


def test_values_too_large_for_float32_distances_end_without_a_result():
    summary, _ = summary_of([[1e30, 0], [-1e30, 5], [3e30, 1], [2e29, 9]])
    engine, offset = engine_of(summary)
    found = engine.lloyd(relative(np.zeros((1, 2, 2)), offset), tol=0.0, max_iter=5)
    assert not np.isfinite(found.inertia)
    assert 0 <= int(found.labels.min()) <= int(found.labels.max()) < 2


def test_centres_beyond_the_range_of_float16_are_scaled():
    values, _ = mixture(9, pixels=60, features=20)
    summary, x = summary_of(values, torch.float16)
    engine, offset = engine_of(summary)
    centers = np.stack([x[3], x[5], np.full(20, 1e6), np.full(20, -3e9)])
    found = engine.nearest(relative(centers, offset)).cpu().numpy()
    # One of the far ones sets the scale: only differences of its size are left.
    assert set(found.tolist()) <= {0, 1}
    close = engine.nearest(relative(centers[:2], offset)).cpu().numpy()
    assert (close == squared(x, centers[:2]).argmin(axis=1)).all()


# --- the rest of an engine ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_seeds_are_those_of_the_torch_engine(dtype):
    values, _ = mixture(10, pixels=300)
    summary, _ = summary_of(values, dtype)
    ours, theirs = (
        engine_of(summary, of)[0].seeds(4, 3, torch.Generator().manual_seed(2))
        for of in (TritonEngine, TorchEngine)
    )
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [1, 5, 70])
def test_nearest_and_inertia(k):
    values, starts = mixture(11, pixels=150, features=20, k=k)
    summary, x = summary_of(values, torch.float16, "pixel-major")
    engine, offset = engine_of(summary)
    labels = engine.nearest(relative(starts[0], offset))
    distances = squared(x, starts[0])
    own = distances[np.arange(len(x)), labels.cpu().numpy()]
    assert labels.dtype == torch.int32
    assert (own <= distances.min(axis=1) + 1e-2).all()
    inertia = engine.inertia(labels, relative(starts[0], offset))
    assert inertia == pytest.approx(own.sum(), rel=1e-5)


def test_more_clusters_than_the_kernels_take_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(_triton_engine, "_TritonRuns", None)
    values, starts = mixture(12, pixels=150, k=65)
    summary, _ = summary_of(values)
    engine, offset = engine_of(summary)
    found = engine.lloyd(relative(starts, offset), tol=0.0, max_iter=20)
    assert len(found.labels.unique()) == 65


@pytest.mark.skipif(DEVICE.type == "cpu", reason="graphs are CUDA's")
def test_iterations_beyond_the_first_few_are_recorded(monkeypatch):
    graphs = []
    record = _triton_engine._recorded
    monkeypatch.setattr(
        _triton_engine, "_recorded", lambda work: graphs.append(record(work)) or graphs[-1]
    )
    values, starts = mixture(13, pixels=5000, spread=60)
    summary, _ = summary_of(values, torch.float16)
    engine, offset = engine_of(summary)
    found = engine.lloyd(relative(starts, offset), tol=0.0, max_iter=100)
    assert found.iterations > 4
    assert [type(graph) for graph in graphs] == [torch.cuda.CUDAGraph]
    monkeypatch.setattr(_triton_engine, "_recorded", lambda work: None)
    plain = engine.lloyd(relative(starts, offset), tol=0.0, max_iter=100)
    assert torch.equal(found.labels, plain.labels)
    assert torch.equal(found.centers, plain.centers)
