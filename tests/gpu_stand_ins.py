"""GPU clusterers where there is no GPU: libraries with the published signatures, in numpy.

Each stand-in refuses parameters that the library does not have, computes in float64, and has the
library's traps. :func:`stand_in` makes a clusterer that meets them instead of the library.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import covary
from covary._registry import find
from emulated_cupy import COMPILER, EmulatedCuPy

__all__ = ["FakeKMeans", "batch_kmeans_euclid", "knn_gpu", "plain_cupy", "stand_in"]


def _labels(x: np.ndarray[Any, Any], centers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return ((x[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)


def _updated(
    x: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], old: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The means; an empty cluster's centre stays."""
    return np.stack([x[labels == i].mean(axis=0) if (labels == i).any() else c
                     for i, c in enumerate(old)])  # fmt: skip


class FakeKMeans:
    """``cuml.cluster.KMeans``: what versions 24.12 to 26.10 agree on."""

    made: list[FakeKMeans] = []
    """All of them, for tests to look at."""

    def __init__(
        self,
        *,
        n_clusters: int = 8,
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: bool = False,
        random_state: int | None = None,
        init: Any = "scalable-k-means++",
        n_init: int | str = "auto",
        oversampling_factor: float = 2.0,
        max_samples_per_batch: int = 32768,
        output_type: str | None = None,
    ) -> None:
        if n_init == "auto":
            n_init = 1 if isinstance(init, str) else 10
        self.n_clusters, self.max_iter, self.tol = n_clusters, max_iter, tol
        self.random_state, self.init, self.n_init = random_state, init, n_init
        self.output_type = output_type
        FakeKMeans.made.append(self)

    def fit(self, X: Any, sample_weight: Any = None) -> FakeKMeans:
        assert X.dtype in (np.float32, np.float64)
        assert X.flags.c_contiguous, "cuML would copy the matrix"
        x = np.asarray(X, np.float64)
        random = np.random.default_rng(self.random_state)
        inertia = np.inf
        for _ in range(int(self.n_init)):
            start = self._spread(x, random) if isinstance(self.init, str) else self.init
            labels, centers, iterations = self._lloyd(x, start)
            found = ((x - centers[labels]) ** 2).sum()
            if found < inertia:
                inertia, best = found, (labels, centers, iterations)
        labels, centers, self.n_iter_ = best
        if not isinstance(self.init, str):
            # The library keeps its centres in the array that it was given.
            self.init[...] = centers
        self.cluster_centers_ = centers.astype(np.float32)
        self.labels_ = labels.astype(np.int32)
        return self

    def _lloyd(self, x: Any, centers: Any) -> tuple[Any, Any, int]:
        for iteration in range(1, self.max_iter + 1):  # noqa: B007
            updated = _updated(x, _labels(x, centers), centers)
            shift = ((updated - centers) ** 2).sum()
            centers = updated
            if shift < self.tol:
                break
        return _labels(x, centers), centers, iteration

    def _spread(self, x: Any, random: np.random.Generator) -> Any:
        centers = x[random.integers(len(x))][None]
        while len(centers) < self.n_clusters:
            closest = ((x[:, None] - centers[None]) ** 2).sum(axis=2).min(axis=1)
            chosen = random.choice(len(x), p=closest / closest.sum())
            centers = np.concatenate([centers, x[chosen][None]])
        return centers


def batch_kmeans_euclid(
    x: torch.Tensor,
    n_clusters: int,
    max_iters: int = 100,
    tol: float = 0.0,
    init_centroids: torch.Tensor | None = None,
    verbose: bool = False,
    *,
    use_heuristic: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """``flash_kmeans.batch_kmeans_Euclid`` 0.3.1: labels before the last update, a strict tol."""
    batch, _, features = x.shape
    if init_centroids is None:
        index = torch.randint(0, x.shape[1], (batch, n_clusters))
        init_centroids = torch.gather(x, 1, index[..., None].expand(-1, -1, features))
    centers = init_centroids.view(batch, n_clusters, features)
    assert centers.dtype == x.dtype, "centroids dtype mismatch"
    data = x[0].double().numpy()
    # The squared norms are kept in the dtype of x, where those of float16 may not fit.
    assert bool(torch.isfinite((x**2).sum(dim=-1)).all())
    for iteration in range(max_iters):  # noqa: B007
        old = centers[0].double().numpy()
        labels = _labels(data, old)
        updated = _updated(data, labels, old).astype(np.float32)
        if np.linalg.norm(updated - old, axis=1).max() < tol:
            break
        centers = torch.from_numpy(updated)[None].to(x.dtype)
    return torch.from_numpy(labels)[None], centers, iteration + 1


def _modules(cupy: EmulatedCuPy | None) -> dict[str, ModuleType]:
    """The stand-ins by the names under which the libraries are imported."""
    made = {
        name: ModuleType(name)
        for name in ("cuml", "cuml.cluster", "flash_kmeans", "flash_kmeans.kmeans_triton_impl")
    }
    made["cuml.cluster"].KMeans = FakeKMeans  # type: ignore[attr-defined]
    triton = made["flash_kmeans.kmeans_triton_impl"]
    triton.batch_kmeans_Euclid = batch_kmeans_euclid  # type: ignore[attr-defined]
    return {"cupy": cupy or EmulatedCuPy(), **made}


@contextmanager
def _imported(replaced: Mapping[str, ModuleType]) -> Iterator[None]:
    # Not all of sys.modules is put back: what was imported meanwhile has to stay.
    before = {name: sys.modules.get(name) for name in replaced}
    sys.modules.update(replaced)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def stand_in(name: str, cupy: EmulatedCuPy | None = None, **params: Any) -> Any:
    """The clusterer of that name on the CPU, with the stand-in of its library."""
    loaded: Any = find(name, "clusterer").load()
    if name == "cupy" and COMPILER is None:
        pytest.skip("its kernel needs g++ to run on the CPU")
    if name == "faiss":
        return type("FaissOnTorch", (_FaissOnTorch, loaded), {})(**params)

    class OnStandIns(loaded):
        replaced = _modules(cupy)

        @contextmanager
        def _on(self, device: torch.device) -> Iterator[None]:
            with _imported(self.replaced):
                yield

    return OnStandIns(**params)


def plain_cupy(name: str, **params: Any) -> Any:
    """CuPy's clusterer on a device whose shared memory has no room for the kernel."""
    return stand_in(name, EmulatedCuPy(shared_bytes=0), **params)


class _FaissOnTorch:
    """Sends faiss on its way for CUDA tensors, with a search for them in torch."""

    def _on_torch_gpu(self, ctx: covary.RunContext, gpus: int) -> bool:
        return True

    def _fit_on_torch_gpu(self, *args: Any) -> Any:
        import faiss
        import faiss.contrib.torch_utils

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(faiss, "knn_gpu", knn_gpu)
            patch.setattr(faiss, "StandardGpuResources", _Resources, raising=False)
            return super()._fit_on_torch_gpu(*args)  # type: ignore[misc]


class _Resources:
    def setTempMemory(self, size: int) -> None:
        pass


def knn_gpu(
    res: _Resources,
    xq: torch.Tensor,
    xb: torch.Tensor,
    k: int,
    D: torch.Tensor | None = None,
    I: torch.Tensor | None = None,
    metric: int = 1,
    device: int = -1,
    use_cuvs: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``faiss.knn_gpu`` of ``faiss.contrib.torch_utils``."""
    for one in (xq, xb):
        if not (one.is_contiguous() or one.t().is_contiguous()):
            raise TypeError("matrix should be row or column-major")
    assert xq.dtype == xb.dtype, "vectors and queries must be of one type"
    squared = (xq[:, None].double() - xb[None].double()).square().sum(dim=2)
    found = squared.topk(k, dim=1, largest=False)
    return found.values.float(), found.indices
