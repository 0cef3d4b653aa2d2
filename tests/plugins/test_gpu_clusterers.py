"""The GPU clusterers beyond the contract of all: the kernel's source, and what each has to mind."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import covary
from covary import InputError, MissingPackageError, RunContext, StyleSummary
from covary._registry import find
from covary.testing.data import blobs, overlapping
from covary.testing.reference import distances, float64_lloyd
from covary.testing.strategies import seeds
from covary_plugins.clusterers import _array_lloyd
from covary_plugins.clusterers._array_lloyd import ChunkedPass, Matrix, lloyd
from covary_plugins.clusterers._fused_pass import best_pass
from emulated_cupy import COMPILER, EmulatedCuPy
from gpu_stand_ins import FakeKMeans, batch_kmeans_euclid, knn_gpu, plain_cupy, stand_in
from spy import Spy

KERNEL = Path(_array_lloyd.__file__).with_name("_lloyd_pass.cu")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++")


# --- the fused kernel, compiled for the processor ----------------------------------------------


@st.composite
def passes(draw):
    """Pixels in every dtype and layout, centres of two passes, and labels, some of them none."""
    rng = np.random.default_rng(draw(seeds()))
    dtype = draw(st.sampled_from([np.uint8, np.float16, np.float32]))
    count, features = draw(st.sampled_from([1, 127, 128, 129, 700])), draw(st.integers(1, 40))
    # Few different programs, because each has to be compiled.
    k = draw(st.sampled_from([1, 3, 4]))
    data = rng.integers(0, 200, (count, features)).astype(dtype)
    layout = draw(st.sampled_from(["pixel-major", "planar", "gaps"]))
    if layout == "planar":
        data = np.asfortranarray(data)
    elif layout == "gaps":
        data = np.repeat(np.repeat(data, 2, axis=1), 2, axis=0)[::2, ::2]
    offset = data.mean(axis=0, dtype=np.float32)
    centers = rng.normal(0, 60, (k, features)).astype(np.float32)
    return data, offset, centers, rng.integers(-1, k, count).astype(np.int32)


@needs_compiler
@settings(max_examples=40)
@given(drawn=passes(), backwards=st.booleans())
def test_the_kernel_assigns_and_accumulates(drawn, backwards):
    data, offset, centers, before = drawn
    pixels = Matrix(EmulatedCuPy(backwards=backwards), data, offset)
    labels = before.copy()
    change = best_pass(pixels, len(centers))(centers, labels)
    assert pixels.xp.launches == 1

    x = data.astype(np.float64) - offset
    every = ((x[:, None] - centers[None].astype(np.float64)) ** 2).sum(axis=2)
    own = every[np.arange(len(x)), labels]
    assert (own <= every.min(axis=1) + 1e-3 * every.max()).all()
    assert change.moved == (labels != before).sum()
    sums = np.zeros((len(centers), x.shape[1] + 1))
    for pixel, new, old in zip(x, labels, before, strict=True):
        if new != old:
            sums[new] += [*pixel, 1]
        if new != old and old >= 0:
            sums[old] -= [*pixel, 1]
    assert (change.sums[:, -1] == sums[:, -1]).all()
    np.testing.assert_allclose(change.sums, sums, rtol=1e-5, atol=1e-4 * abs(x).sum(axis=0).max())


@needs_compiler
@settings(max_examples=10)
@given(drawn=passes())
def test_the_order_of_the_threads_changes_no_bit(drawn):
    data, offset, centers, before = drawn
    found = []
    for backwards in (False, True):
        pixels, labels = Matrix(EmulatedCuPy(backwards=backwards), data, offset), before.copy()
        found.append((best_pass(pixels, len(centers))(centers, labels).sums, labels))
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()


@needs_compiler
def test_halves_are_read_as_they_are():
    # All of them: zeros of both signs, subnormal and normal numbers.
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    data = every[np.isfinite(every)][:, None]
    pixels = Matrix(EmulatedCuPy(), data, np.zeros(1, np.float32))
    labels = np.full(len(data), -1, np.int32)
    centers = np.array([[-1.0], [1.0]], np.float32)
    change = best_pass(pixels, 2)(centers, labels)
    assert (labels == (data[:, 0] > 0)).all()
    halves = [data[labels == label].astype(np.float64).sum() for label in (0, 1)]
    np.testing.assert_allclose(change.sums[:, 0], halves, rtol=1e-5)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize(("clusters", "stored"), [(3, 2), (10, 4), (32, 1)])
def test_the_kernel_compiles_for_gpus_and_stays_in_registers(tmp_path, clusters, stored):
    options = ["-arch=sm_80", "-cubin", "-Xptxas", "-v", "-Werror", "all-warnings"]
    defined = [f"-DCLUSTERS={clusters}", f"-DSTORED={stored}"]
    done = subprocess.run(
        ["nvcc", *options, *defined, str(KERNEL), "-o", str(tmp_path / "kernel.cubin")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\d+) bytes spill", done.stderr) == ["0", "0"]


@needs_compiler
def test_the_kernel_is_used_where_it_fits():
    summary, _ = blobs(0, 3)
    for shared_bytes, k, launched in (
        (99 * 1024, 3, True),
        (2000, 3, False),
        (99 * 1024, 33, False),
    ):
        cupy = EmulatedCuPy(shared_bytes)
        found = stand_in("cupy", cupy, k=k).fit(summary)
        assert (cupy.launches > 0) == launched
        assert found.k == k


# --- Lloyd's algorithm on arrays ---------------------------------------------------------------


@settings(max_examples=20)
@given(seed=seeds())
def test_inertia_and_spread_make_up_all_variation(seed):
    summary, start = overlapping(seed)
    data = summary.data.numpy()
    pixels = Matrix(np, data, data.mean(axis=0))
    found = lloyd(pixels, ChunkedPass(pixels), start.numpy() - pixels.offset, tol=0, max_iter=300)
    labels, centers, inertia = float64_lloyd(data, start)
    assert found.converged
    assert (found.labels == labels).mean() > 0.99
    np.testing.assert_allclose(found.centers + pixels.offset, centers, atol=0.05)
    total = ((data.astype(np.float64) - pixels.offset) ** 2).sum()
    assert found.spread + inertia == pytest.approx(total, rel=1e-5)


def test_chunks_change_nothing(monkeypatch):
    summary, start = overlapping(6)
    whole = plain_cupy("cupy", k=5, tol=0).fit_from(summary, start)
    monkeypatch.setattr(_array_lloyd, "_CHUNK_BYTES", 7 * 4 * summary.features)
    chunks = plain_cupy("cupy", k=5, tol=0).fit_from(summary, start)
    assert torch.equal(whole.labels, chunks.labels)
    assert chunks.inertia == pytest.approx(whole.inertia, rel=1e-6)


def test_large_images_start_on_a_coarse_grid():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:150, :170]
    regions = (x > 60).astype(int) + (y > 80) + (x + y > 250)
    data = np.eye(4)[regions.reshape(-1)] @ rng.standard_normal((4, 6)) * 5
    data = (data + rng.standard_normal(data.shape)).astype(np.float16)
    summary = StyleSummary.from_matrix(data, (150, 170))
    found = plain_cupy("cupy", k=4, tol=0).fit(summary)
    _, _, inertia = float64_lloyd(data, found.centers)
    assert found.inertia == pytest.approx(inertia, rel=1e-5)
    assert found.inertia <= covary.create("lloyd", k=4, tol=0).fit(summary).inertia * (1 + 1e-3)


def test_colours_that_the_coarse_grid_misses_are_still_told_apart():
    data = torch.zeros((160 * 160, 3), dtype=torch.uint8)
    data[1], data[161 * 7], data[-1] = 50, 120, 255
    found = plain_cupy("cupy", k=4).fit(StyleSummary(data, (160, 160)))
    assert found.counts.tolist() == [160 * 160 - 3, 1, 1, 1]


# --- where they cannot run ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cupy", "cuml", "flash"])
def test_a_fit_on_the_cpu_is_refused_with_a_way_out(name):
    summary, _ = blobs(0, 3)
    clusterer = find(name, "clusterer").load()(k=3)
    message = r"expected a CUDA device, got cpu; .*lloyd"
    with pytest.raises(InputError, match=message):
        clusterer.fit(summary)
    with pytest.raises(InputError, match=message):
        clusterer.fit(summary, RunContext(device=torch.device("cpu")))
    with pytest.raises(InputError, match=message):
        clusterer.fit_from(summary, torch.zeros(3, summary.features))


def test_flash_without_its_kernels_is_refused():
    clusterer = stand_in("flash", k=3)
    name = "flash_kmeans.kmeans_triton_impl"
    clusterer.replaced[name] = ModuleType(name)
    summary, _ = blobs(0, 3)
    with pytest.raises(MissingPackageError, match=r"Triton kernels.*pip install 'covary\[flash\]'"):
        clusterer.fit(summary)


# --- what the libraries are asked for ----------------------------------------------------------


@pytest.mark.parametrize("name", ["cuml", "flash"])
def test_without_a_tolerance_it_stops_when_nothing_moves(name):
    summary, start = overlapping(3)
    found = stand_in(name, k=5, tol=0, max_iter=250).fit_from(summary, start)
    assert found.converged
    assert found.iterations < 250


@pytest.mark.parametrize("name", ["cuml", "flash"])
def test_the_iteration_limit_is_reported_and_labels_belong_to_the_centres(name):
    summary, start = overlapping(2)
    found = stand_in(name, k=5, tol=0, max_iter=1).fit_from(summary, start)
    assert not found.converged
    nearest = distances(summary.data, found.centers).argmin(axis=1)
    assert (nearest == found.labels.reshape(-1).numpy()).all()


@pytest.mark.parametrize("name", ["cupy", "cuml", "flash"])
def test_the_callers_centres_are_left_as_they_are(name):
    summary, start = overlapping(5)
    before = start.clone()
    stand_in(name, k=5).fit_from(summary, start)
    assert torch.equal(start, before)


def test_cuml_runs_once_from_given_centres_and_n_init_times_from_its_own():
    summary, start = overlapping(4)
    FakeKMeans.made.clear()
    stand_in("cuml", k=5, n_init=3).fit_from(summary, start)
    stand_in("cuml", k=5, n_init=3).fit(summary)
    assert [one.n_init for one in FakeKMeans.made] == [1, 3]
    assert {one.output_type for one in FakeKMeans.made} == {"cupy"}


@pytest.mark.parametrize("name", ["cuml", "flash"])
def test_the_tolerance_is_as_strict_as_it_says(name):
    summary, start = overlapping(7)
    found = stand_in(name, k=5, tol=1e-3).fit_from(summary, start)
    x, labels = summary.data.double(), found.labels.reshape(-1)
    means = torch.stack([x[labels == i].mean(dim=0) for i in range(5)])
    variance = float(x.var(dim=0, correction=0).mean())
    assert found.converged
    assert float((means - found.centers).square().sum()) <= 1e-3 * variance


def test_the_stand_ins_take_what_the_libraries_take():
    torch_utils = pytest.importorskip("faiss.contrib.torch_utils")
    published = [(knn_gpu, torch_utils.torch_replacement_knn_gpu)]
    if find("flash", "clusterer").unavailable() == "":
        from flash_kmeans import batch_kmeans_Euclid

        published.append((batch_kmeans_euclid, batch_kmeans_Euclid))
    if find("cuml", "clusterer").unavailable() == "":
        from cuml.cluster import KMeans

        published.append((FakeKMeans, KMeans))
    for fake, real in published:
        assert set(inspect.signature(fake).parameters) <= set(inspect.signature(real).parameters)


# --- faiss ---------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seed=st.integers(0, 100), most=st.integers(2, 90))
def test_faiss_trains_on_the_pixels_that_faiss_itself_would_sample(seed, most):
    # With one pixel a cluster it would take the first k pixels instead of its sample.
    faiss = pytest.importorskip("faiss")
    summary, _ = overlapping(seed, size=(20, 20))
    ctx = RunContext(seed=seed)
    ours = covary.create("faiss", k=5, max_points_per_centroid=most).fit(summary, ctx)
    theirs = faiss.Kmeans(
        *(summary.features, 5),
        niter=25,
        seed=ctx.derived_seed() % 2**31,
        max_points_per_centroid=most,
        min_points_per_centroid=1,
    )
    theirs.train(summary.data.numpy())
    found = {tuple(center) for center in ours.centers.tolist()}
    assert found == {tuple(center) for center in theirs.centroids.tolist()}


@pytest.mark.parametrize("make", [covary.create, stand_in])
def test_faiss_converts_only_the_pixels_that_it_trains_on(make):
    pytest.importorskip("faiss")
    summary, _ = overlapping(4, size=(40, 40))
    spy = Spy(summary.data, summary.size)  # which refuses to be converted as a whole
    found = make("faiss", k=5, max_points_per_centroid=30).fit(spy)
    assert int(found.counts.sum()) == 1600


# --- memory --------------------------------------------------------------------------------------


def test_promised_memory_at_full_size():
    size, features = (1024, 1024), 150
    matrix = 4 * size[0] * size[1] * features
    make = {name: find(name, "clusterer").load() for name in ("cupy", "cuml", "flash", "faiss")}
    assert make["cupy"]().memory(size, features) < 250e6
    assert matrix < make["cuml"]().memory(size, features) < 1.2 * matrix
    assert matrix < make["flash"]().memory(size, features) < 1.2 * matrix
    assert matrix < make["faiss"]().memory(size, features) < 1.2 * matrix
    assert make["faiss"](max_points_per_centroid=256).memory(size, features) < 100e6
