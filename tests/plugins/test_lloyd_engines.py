"""lloyd's engines for processors against each other, and against k-means in plain numpy."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from covary import InputError, RunContext, StyleSummary
from covary.testing.data import overlapping
from covary.testing.reference import canonical, float64_lloyd
from covary.testing.strategies import seeds
from covary_plugins.clusterers import _engines
from covary_plugins.clusterers._torch_engine import TorchEngine
from covary_plugins.clusterers.lloyd import Lloyd

pytest.importorskip("numba")

from covary_plugins.clusterers import _kernels, _numba_engine
from covary_plugins.clusterers._numba_engine import NumbaEngine

some = settings(max_examples=12)
both = pytest.mark.parametrize("engine", [NumbaEngine, TorchEngine])
LAYOUTS = ("planar", "pixels", "sliced", "reversed")
DTYPES = (torch.uint8, torch.float16, torch.float32)


def picture(seed, size=(70, 90), features=7, regions=5, noise=6.0):
    """Smooth regions with blurred borders, as images have: long runs of pixels are of one kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    points = rng.random((regions, 2)) * size
    away = np.stack([np.hypot(y - a, x - b) for a, b in points])
    soft = np.exp(-away / 3)
    soft /= soft.sum(axis=0)
    colours = rng.integers(0, 250, (regions, features))
    data = np.einsum("rhw,rf->hwf", soft, colours).reshape(-1, features)
    return np.clip(data + noise * rng.standard_normal(data.shape), 0, 255)


def laid_out(data, layout, dtype):
    """The same values, differently in memory."""
    tensor = torch.from_numpy(data).to(dtype)
    match layout:
        case "planar":
            return tensor.T.contiguous().T
        case "pixels":
            return tensor.contiguous()
        case "sliced":
            wide = torch.zeros((len(tensor), 2 * tensor.shape[1]), dtype=dtype)
            wide[:, ::2] = tensor
            return wide[:, ::2]
        case "reversed":
            return torch.stack([tensor, tensor])[1].T.contiguous().T


def summary_of(data, size=(70, 90), layout="planar", dtype=torch.float32):
    return StyleSummary(laid_out(data, layout, dtype), size)


def start_of(summary, k, seed=0):
    rng = np.random.default_rng(seed)
    return summary.gather(torch.from_numpy(rng.choice(summary.pixels, k, replace=False)))


def run(engine, summary, starts, tol=0.0, max_iter=300):
    offset = summary.rows(0, summary.pixels).mean(dim=0)
    return engine(summary, offset).lloyd(starts.double() - offset, tol=tol, max_iter=max_iter)


@both
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_and_dtype_ends_where_a_float64_lloyd_ends(engine, layout, dtype):
    summary = summary_of(picture(1), layout=layout, dtype=dtype)
    start = start_of(summary, 4)
    labels, centers, inertia = float64_lloyd(summary.data.double().numpy(), start)
    found = run(engine, summary, start[None])
    assert found.converged
    assert (found.labels.numpy() == labels).mean() > 0.999
    assert found.inertia == pytest.approx(inertia, rel=1e-5)
    offset = summary.rows(0, summary.pixels).mean(dim=0)
    np.testing.assert_allclose(found.centers + offset, centers, atol=0.05)


@some
@given(
    seed=seeds(),
    k=st.integers(1, 6),
    height=st.integers(1, 40),
    width=st.integers(6, 60),
    features=st.integers(1, 13),
)
def test_numba_goes_the_way_of_torch(seed, k, height, width, features):
    """Skipped blocks, sums of differences and shared reads change nothing but rounding."""
    summary = summary_of(picture(seed, (height, width), features), (height, width))
    starts = torch.stack([start_of(summary, k, seed=i) for i in range(3)])
    ours, theirs = (run(engine, summary, starts) for engine in (NumbaEngine, TorchEngine))
    assert ours.inertia == pytest.approx(theirs.inertia, rel=1e-4, abs=1e-3)
    for one in (ours, theirs):
        labels = canonical(one.labels.numpy())
        _, _, inertia = float64_lloyd(summary.data.numpy(), means(summary, labels))
        assert one.inertia == pytest.approx(inertia, rel=1e-3, abs=1e-2)


def means(summary, labels):
    x = summary.data.double().numpy()
    return np.stack([x[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def test_bounds_skip_most_blocks_and_no_label_is_stale(monkeypatch):
    summary = summary_of(picture(3, (200, 256), regions=8), (200, 256))
    start = start_of(summary, 6, seed=1)
    read = []
    compiled = _kernels.assign

    def counting(*arguments):
        first, stop, drift, expiry = arguments[2], arguments[3], arguments[9], arguments[10]
        blocks = expiry[0, first // _kernels.BLOCK : -(-stop // _kernels.BLOCK)]
        read.append(((blocks <= drift[0]).sum(), blocks.size))
        return compiled(*arguments)

    monkeypatch.setattr(_kernels, "assign", counting)
    found = run(NumbaEngine, summary, start[None])
    blocks = sum(size for _, size in read) / found.iterations
    chunks = len(read) // found.iterations
    assert sum(count for count, _ in read[:chunks]) == blocks == -(-summary.pixels // 32)
    last = sum(count for count, _ in read[-chunks:])
    assert 0 < last < blocks / 4, "the last pass should leave most blocks alone"
    offset = summary.rows(0, summary.pixels).mean(dim=0)
    again = TorchEngine(summary, offset).nearest(found.centers)
    assert torch.equal(found.labels, again)


@both
def test_restarts_run_as_if_alone_and_the_best_is_kept(engine):
    summary = summary_of(picture(5, noise=25.0))
    starts = torch.stack([start_of(summary, 5, seed=seed) for seed in range(6)])
    alone = [run(engine, summary, start[None]) for start in starts]
    together = run(engine, summary, starts)
    best = min(alone, key=lambda one: one.inertia)
    # Which pixels are added up together is another matter, and rounds differently.
    assert together.inertia == pytest.approx(best.inertia, rel=1e-6)
    assert (together.labels == best.labels).float().mean() > 0.999
    assert together.iterations == best.iterations


@both
def test_a_tolerance_of_one_run_does_not_end_another(engine):
    summary = summary_of(picture(5, noise=25.0))
    slow, done = start_of(summary, 5, seed=2), run(engine, summary, start_of(summary, 5)[None])
    offset = summary.rows(0, summary.pixels).mean(dim=0)
    both_runs = torch.stack([slow, (done.centers + offset).float()])
    alone = run(engine, summary, slow[None])
    assert alone.iterations > 2
    found = run(engine, summary, both_runs)
    assert found.inertia <= alone.inertia * (1 + 1e-6)


@both
@given(seed=seeds())
@some
def test_empty_clusters_take_over_far_pixels_in_every_run(engine, seed):
    summary = summary_of(picture(seed))
    starts = start_of(summary, 5, seed=3).repeat(2, 1, 1)
    starts[1, 1:] = starts[1, :1] + 1e4
    found = run(engine, summary, starts[1:])
    assert torch.bincount(found.labels, minlength=5).min() > 0
    assert found.converged
    offset = summary.rows(0, summary.pixels).mean(dim=0)
    again = TorchEngine(summary, offset).nearest(found.centers)
    assert (found.labels == again).float().mean() > 0.9999


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    summary = summary_of(picture(2, (150, 256)), (150, 256))
    start = start_of(summary, 5)[None]
    found = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(run(NumbaEngine, summary, start))
    for other in found[1:]:
        assert torch.equal(found[0].labels, other.labels)
        assert torch.equal(found[0].centers, other.centers)
        assert found[0].inertia == other.inertia


def test_python_threads_may_fit_at_the_same_time():
    summary = summary_of(picture(2, (150, 256)), (150, 256))
    alone = Lloyd(k=5, engine="numba").fit(summary)
    with ThreadPoolExecutor(4) as pool:
        fits = list(pool.map(lambda _: Lloyd(k=5, engine="numba").fit(summary), range(8)))
    assert all(torch.equal(one.labels, alone.labels) for one in fits)


@pytest.mark.parametrize("kernel", ["assign", "closer"])
@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_in_the_middle_of_a_pass_passes_through(monkeypatch, kernel, threads):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_kernels, kernel, interrupted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    summary = summary_of(picture(2, (150, 256)), (150, 256))
    with pytest.raises(KeyboardInterrupt):
        Lloyd(k=5, engine="numba", coarse=1).fit(summary)


def fit_in_child(queue):
    summary = summary_of(picture(2, (150, 256)), (150, 256))
    queue.put(Lloyd(k=5, engine="numba").fit(summary).inertia)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_may_fit_after_its_parent(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    summary = summary_of(picture(2, (150, 256)), (150, 256))
    here = Lloyd(k=5, engine="numba").fit(summary).inertia
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=fit_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == here
    child.join(60)


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_inertia_is_that_of_the_labels_given(engine, dtype):
    summary = summary_of(picture(4), dtype=dtype)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, summary.pixels)
    centers = rng.uniform(-50, 50, (3, summary.features))
    offset = torch.full((summary.features,), 99.5)
    x = summary.data.double().numpy() - 99.5
    expected = ((x - centers[labels]) ** 2).sum()
    found = engine(summary, offset).inertia(torch.from_numpy(labels), torch.from_numpy(centers))
    assert found == pytest.approx(expected, rel=1e-5)


@both
@some
@given(seed=seeds())
def test_seeds_are_pixels_none_twice_and_far_apart(engine, seed):
    data = picture(seed, noise=0.0).round()
    summary = summary_of(data, dtype=torch.uint8)
    offset = torch.zeros(summary.features)
    generator = torch.Generator().manual_seed(seed % 2**31)
    found = engine(summary, offset).seeds(5, 3, generator)
    assert found.shape == (3, 5, summary.features)
    pixels = {tuple(row) for row in summary.data.double().tolist()}
    for restart in found.tolist():
        assert all(tuple(row) in pixels for row in restart)
        assert len({tuple(row) for row in restart}) == 5
    by_chance = np.random.default_rng(0).choice(summary.pixels, (50, 5))
    potential = [closest_sum(summary, summary.data.double()[list(pick)]) for pick in by_chance]
    assert closest_sum(summary, found[0]) <= np.quantile(potential, 0.5)


def closest_sum(summary, centers):
    return float((torch.cdist(summary.data.double(), centers).min(dim=1).values ** 2).sum())


def test_seeds_of_both_engines_are_the_same():
    summary = summary_of(picture(6))
    offset = summary.rows(0, summary.pixels).mean(dim=0)
    drawn = [
        engine(summary, offset).seeds(4, 2, torch.Generator().manual_seed(1))
        for engine in (NumbaEngine, TorchEngine)
    ]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("max_iter", [1, 2, 5])
def test_the_iteration_limit_ends_both_at_the_same_place(max_iter):
    summary, start = overlapping(2, size=(40, 50))
    ours, theirs = (
        run(engine, summary, start[None], max_iter=max_iter)
        for engine in (NumbaEngine, TorchEngine)
    )
    assert ours.iterations == theirs.iterations == max_iter + 1
    assert not ours.converged
    assert (ours.labels == theirs.labels).float().mean() > 0.999
    torch.testing.assert_close(ours.centers, theirs.centers, atol=1e-3, rtol=1e-3)


def test_float16_bits_are_read_as_what_they_are():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(-1, 1)
    size = (1, len(every))
    # Far apart in magnitude: each half of the values nearest to one of two centres.
    summary = StyleSummary(torch.from_numpy(every), size)
    labels = torch.zeros(len(every), dtype=torch.int32)
    found = NumbaEngine(summary, torch.zeros(1)).inertia(labels, torch.zeros(1, 1))
    assert found == pytest.approx(float((every.astype(np.float64) ** 2).sum()), rel=1e-6)


# --- which engine ----------------------------------------------------------------------------


def test_engines_are_chosen_by_device_and_by_what_is_there(monkeypatch):
    cpu = torch.device("cpu")
    assert _engines.choose("auto", cpu) is NumbaEngine
    assert _engines.choose("torch", cpu) is TorchEngine
    monkeypatch.setattr(_numba_engine, "available", lambda: False)
    assert _engines.choose("auto", cpu) is TorchEngine
    with pytest.raises(InputError, match=r"numba.*auto, torch.*pip install numba"):
        _engines.choose("numba", cpu)
    with pytest.raises(InputError, match=r"triton.*on cpu"):
        _engines.choose("triton", cpu)


def test_without_numba_the_result_is_the_same(monkeypatch):
    summary = summary_of(picture(8))
    with_numba = Lloyd(k=5).fit(summary, RunContext(seed=3))
    monkeypatch.setattr(_numba_engine, "available", lambda: False)
    without = Lloyd(k=5).fit(summary, RunContext(seed=3))
    assert (with_numba.labels == without.labels).float().mean() > 0.999
    assert with_numba.inertia == pytest.approx(without.inertia, rel=1e-5)


SCRIPT = """
import sys
sys.modules["numba"] = None  # importing it fails
import covary, torch
data = torch.arange(60, dtype=torch.uint8).reshape(20, 3)
found = covary.create("lloyd", k=3).fit(covary.StyleSummary(data, (4, 5)))
print(found.counts.tolist())
"""


def test_numba_that_does_not_import_is_as_good_as_none():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sum(eval(done.stdout)) == 20


CACHED = """
import covary, torch
from covary_plugins.clusterers import _kernels
data = torch.arange(60, dtype=torch.uint8).reshape(20, 3)
covary.create("lloyd", k=3, engine="numba").fit(covary.StyleSummary(data, (4, 5)))
hits = sum(sum(one.stats.cache_hits.values()) for one in (_kernels.assign, _kernels.closer))
print(hits)
"""


def test_only_the_first_process_compiles(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    hits = [
        int(
            subprocess.run(
                [sys.executable, "-c", CACHED],
                capture_output=True, text=True, check=True, env=environment,
            ).stdout
        )
        for _ in range(2)
    ]  # fmt: skip
    assert hits == [0, 2]


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch):
    def refuse(*_, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(_kernels, "njit", refuse)
    assert _kernels._jit(abs) is abs
