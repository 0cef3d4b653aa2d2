"""All clusterers through the contract, and what covary demands of its own beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from covary import (
    ClusterMap,
    InputError,
    StyleSummary,
    SupportsInitialCenters,
    SupportsMemoryEstimate,
)
from covary.testing import ClustererContract
from covary.testing.data import blobs, overlapping
from gpu_stand_ins import plain_cupy, stand_in


class BuiltIn(ClustererContract):
    """What every clusterer of covary keeps to."""

    __test__ = False
    quality = 1.25

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__test__ = not cls.__name__.startswith("_")

    def test_starts_from_given_centres_and_knows_its_memory(self) -> None:
        """It can be compared with others, and planned."""
        assert isinstance(self.make(2), SupportsInitialCenters)
        assert isinstance(self.make(2), SupportsMemoryEstimate)
        assert self.make(2).memory((64, 64), 30) > 64 * 64

    def test_says_how_many_clusters_there_can_be(self) -> None:
        """Errors about too many clusters say how many are possible, and why."""
        data = torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0], [3.0, 9.0, 4.0]]).repeat(4, 1)
        two_colours = StyleSummary(data, (3, 4))
        with pytest.raises(InputError, match=r"at most 2.*distinct.*got 3.*lower k"):
            self.fit(two_colours, 3)
        with pytest.raises(InputError, match="at most 2"):
            self.fit_from(two_colours, torch.zeros(3, 3))
        with pytest.raises(InputError, match=r"k = 5.*at most 4"):
            self.fit(StyleSummary(torch.randn(4, 3), (2, 2)), 5)
        with pytest.raises(InputError, match="distinct"):
            self.fit(StyleSummary(torch.full((6, 3), 7, dtype=torch.uint8), (2, 3)), 2)

    def test_repeats_a_run_to_the_bit(self) -> None:
        """On the CPU one seed means one result, whatever is promised."""
        summary, _ = overlapping(11)
        if self.device != "cpu" and self.make(4).determinism == "numeric":
            self.skip("numeric on this device")
        a, b = (self.fit(summary, 4, self.context(9)) for _ in range(2))
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.centers, b.centers)
        assert a.inertia == b.inertia

    def test_keeps_no_pixel_out(self) -> None:
        """Centres from which some attract nothing leave every pixel with a label."""
        summary, truth = blobs(0, 3)
        start = torch.cat([summary.data[:1], summary.data[:1] + 1e4, summary.data[:1] - 1e4])
        assert int(self.fit_from(summary, start).counts.sum()) == truth.size


def correlated(pixels: Any) -> np.ndarray[Any, Any]:
    """Vectors whose products are Pearson's correlations; zero for constant ones."""
    x = np.asarray(pixels, np.float64)
    x = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt((x**2).sum(axis=1, keepdims=True))
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


class TestLloyd(BuiltIn):
    name = "lloyd"
    exact = {"tol": 0}


class TestLloydAuto(ClustererContract):
    """Whatever number of clusters it chooses, it keeps to what does not depend on it."""

    name = "lloyd"
    params = {"k": "auto"}
    exact = {"tol": 0}
    expected_failures = {
        "finds_distant_groups": "it gives two clusters at least, and the check wants one too",
        "refuses_more_clusters_than_distinct_pixels": "it chooses no more than there can be",
        "refuses_more_clusters_than_pixels": "it chooses no more than there can be",
        "takes_a_constant_image": "two clusters of one colour cannot be asked for",
        "refuses_initial_centres_that_do_not_fit": "any number of centres fits",
    }

    def make(self, k: int, **more: Any) -> Any:
        return self.create(**more)

    def checked(self, found: Any, summary: StyleSummary, k: int) -> ClusterMap:
        return super().checked(found, summary, found.k)


class TestFaiss(BuiltIn):
    name = "faiss"
    params = {"nredo": 30}
    exact = {"niter": 200}


class TestSklearn(BuiltIn):
    name = "sklearn"
    exact = {"tol": 0}


class TestElkan(BuiltIn):
    name = "sklearn"
    params = {"algorithm": "elkan"}
    exact = {"tol": 0}


class TestSklearnMinibatch(BuiltIn):
    name = "sklearn"
    params = {"algorithm": "minibatch"}
    quality = 1.5


class TestOpenCV(BuiltIn):
    name = "opencv"
    exact = {"tol": 0}


class TestIntelex(BuiltIn):
    name = "intelex"
    exact = {"tol": 0}


class TestTorch(BuiltIn):
    name = "torch"
    params = {"n_init": 30}
    exact = {"tol": 0}


class TestMinibatch(BuiltIn):
    name = "minibatch"


class TestSpherical(BuiltIn):
    name = "spherical"
    exact = {"tol": 0}
    space = staticmethod(correlated)
    accuracy = 1e-3


class _StandIn(BuiltIn):
    """A clusterer for CUDA on the CPU, with something in the place of its library."""

    expected_failures = {
        "pickles": "the stand-in's class is made in a function",
        "finds_the_same_when_pickled": "the stand-in's class is made in a function",
    }

    def create(self, **params: Any) -> Any:
        return stand_in(self.name, **{**self.params, **params})

    def test_says_how_much_memory_it_takes(self) -> None:
        """Left out: a stand-in takes other memory than its library."""
        self.skip("it takes other memory than its library")


class TestCuPyEmulated(_StandIn):
    name = "cupy"
    exact = {"tol": 0}


class TestCuPyPlain(_StandIn):
    name = "cupy"
    exact = {"tol": 0}

    def create(self, **params: Any) -> Any:
        return plain_cupy(self.name, **params)


class TestCuMLStandIn(_StandIn):
    name = "cuml"
    exact = {"tol": 0}


class TestFlashStandIn(_StandIn):
    name = "flash"
    params = {"n_init": 30}
    exact = {"tol": 0}


class TestFaissGPUStandIn(_StandIn):
    name = "faiss"
    params = {"nredo": 30}
    exact = {"niter": 200}


class _OnCuda(BuiltIn):
    """On the first GPU, where there is one."""

    device = "cuda"


class TestLloydOnCuda(_OnCuda):
    name = "lloyd"
    exact = {"tol": 0}


class TestCuPy(_OnCuda):
    name = "cupy"
    exact = {"tol": 0}


class TestCuML(_OnCuda):
    name = "cuml"
    exact = {"tol": 0}


class TestFlash(_OnCuda):
    name = "flash"
    params = {"n_init": 30}
    exact = {"tol": 0}


class TestFaissGPU(_OnCuda):
    name = "faiss"
    params = {"nredo": 30}
    exact = {"niter": 200}
