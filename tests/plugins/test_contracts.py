"""All built-in sources, feature spaces, rules and detectors through their contracts.

Clusterers: ``test_clusterers.py``; writers: ``test_writers.py``; segmenters: ``segmenters``.
``controlnet``: ``controlnet/test_controlnet_contract.py``, beside the small models that it needs;
so too the networks among the detectors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import covary
from covary._registry import registry
from covary.testing import (
    DetectorContract,
    FeatureSpaceContract,
    ForegroundRuleContract,
    LandmarkDetectorContract,
    RefinerContract,
    VariantSourceContract,
    run_contract,
    worlds,
)

FILES_AS_THEY_ARE = "its variants are the files as they are; nothing is drawn"


# --- sources ---------------------------------------------------------------------------------


class TestWorlds(VariantSourceContract):
    name = "worlds"
    params = {"resolution": 32}


class TestRooms(VariantSourceContract):
    name = "worlds"
    params = {"resolution": 32, "world": "rooms"}


class TestStyleGAN2(VariantSourceContract):
    name = "stylegan2"


class TestReStyle(VariantSourceContract):
    name = "restyle"


class TestProject(VariantSourceContract):
    name = "project"
    params = {"steps": 3, "starts": 4}


class TestTunedProject(VariantSourceContract):
    name = "project"
    params = {"steps": 2, "starts": 2, "tuning_steps": 2}


def write_stack(folder: Path, seed: int) -> covary.Query:
    """A folder of aligned images, four appearances of one scene."""
    for i, image in enumerate(worlds.get("avatars").scene(seed, (24, 32)).images(seed, 4)):
        covary.write_png(image, folder / f"{i}.png")
    return covary.Query(paths=(folder,))


def one_by_one(stack: covary.Query) -> covary.Query:
    """The files of a folder, by their names."""
    return covary.Query(paths=tuple(sorted(stack.paths[0].iterdir())))


def as_array(stack: covary.Query) -> covary.Query:
    """The images of a folder in one .npz beside it."""
    images = [covary.read_image(path) for path in one_by_one(stack).paths]
    path = stack.paths[0] / "stack.npz"
    np.savez(path, torch.stack(images).numpy())
    return covary.Query(paths=(path,))


class TestFolder(VariantSourceContract):
    name = "images"
    expected_failures = {"draws_variants_from_the_runs_seed": FILES_AS_THEY_ARE}

    def query(self, folder: Path) -> covary.Query:
        return write_stack(folder, 0)

    def other_query(self, folder: Path) -> covary.Query:
        return write_stack(folder, 1)


class TestFiles(TestFolder):
    expected_failures = TestFolder.expected_failures

    def query(self, folder: Path) -> covary.Query:
        return one_by_one(write_stack(folder, 0))

    def other_query(self, folder: Path) -> covary.Query:
        return one_by_one(write_stack(folder, 1))


class TestArray(TestFolder):
    expected_failures = {
        **TestFolder.expected_failures,
        "draws_variants_lazily": "an .npz is loaded as a whole, as its documentation says",
    }

    def query(self, folder: Path) -> covary.Query:
        return as_array(write_stack(folder, 0))

    def other_query(self, folder: Path) -> covary.Query:
        return as_array(write_stack(folder, 1))


@pytest.mark.parametrize("contract", [TestWorlds, TestFolder, TestArray])
def test_variants_go_to_the_runs_device(contract: type[VariantSourceContract]) -> None:
    """The device ``meta`` is everywhere, and holds shapes alone."""

    class Elsewhere(contract):  # type: ignore[misc, valid-type]
        device = "meta"

    (result,) = run_contract(Elsewhere, ["gives_batches_on_the_runs_device"])
    assert result.outcome == "passed", result.message


# --- feature spaces --------------------------------------------------------------------------


class TestRGB(FeatureSpaceContract):
    name = "rgb"


class TestLAB(FeatureSpaceContract):
    name = "lab"


# --- foreground rules ------------------------------------------------------------------------


class TestCorner(ForegroundRuleContract):
    name = "corner"


class TestUpperCorners(ForegroundRuleContract):
    name = "corner"
    params = {"corners": "upper", "theta_corner": 0.5}


class TestSaliency(ForegroundRuleContract):
    name = "saliency"


class TestBorder(ForegroundRuleContract):
    name = "border"


class TestUpperBorder(ForegroundRuleContract):
    name = "border"
    params = {"sides": "upper", "theta_border": 0.5}


class TestVote(ForegroundRuleContract):
    name = "vote"


class TestWeightedVote(ForegroundRuleContract):
    name = "vote"
    params = {"rules": ["border", {"use": "corner", "corners": "upper"}], "weights": [2, 1]}


class TestParts(ForegroundRuleContract):
    name = "parts"
    params = {
        "parts": [
            {"name": "face", "mean": (0.5, 0.5), "sigma": (0.12, 0.16)},
            {"name": "clothes", "mean": (0.5, 0.95), "covariance": ((0.08, 0), (0, 0.01))},
            {"name": "sky", "mean": (0.1, 0.1), "sigma": 0.3, "weight": 0.7},
            {"name": "sky", "mean": (0.9, 0.1), "sigma": 0.3, "weight": 0.7},
        ],
        "background": ["sky"],
    }


class TestBox(ForegroundRuleContract):
    name = "box"
    params = {"boxes": [(4, 4, 28.4, 28)]}


class TestCornersInABox(ForegroundRuleContract):
    name = "box"
    params = {"boxes": [(4, 4, 28, 28), (0, 2, 20, 31)], "rule": {"use": "corner"}}


# --- detectors -------------------------------------------------------------------------------

NOT_ITS_SCENE = "it refuses any image that is not the scene of the query's seed"


class TestWorldsBoxes(DetectorContract):
    name = "worlds"
    params = {"world": "avatars"}
    expected_failures = {
        "returns_detections": NOT_ITS_SCENE,
        "boxes_lie_inside_the_image": NOT_ITS_SCENE,
        "takes_images_of_any_size": NOT_ITS_SCENE,
    }

    def query_of(self, image: torch.Tensor) -> covary.Query | None:
        """The seed of which it is the scene, if of one that the checks use."""
        size = tuple(image.shape[1:])
        if image.dtype != torch.uint8 or min(size) < 16:
            return None
        drawn = {seed: worlds.get("avatars").scene(seed, size).images(seed)[0] for seed in range(3)}
        found = [seed for seed, scene in drawn.items() if torch.equal(scene, image.cpu())]
        return covary.Query(seed=found[0]) if found else None


class TestNumbers(DetectorContract):
    """Of one pixel, so that it fits any image."""

    name = "file"
    params = {"boxes": [(0, 0, 1, 1)], "labels": ["pixel"]}


class TestFile(DetectorContract):
    name = "file"

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        path = tmp_path / "boxes.csv"
        path.write_text("x0,y0,x1,y1,label,score\n0,0,1,1,pixel,0.5\n")
        self.params = {"file": str(path)}


# --- landmark detectors ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YuNet's network with random weights; its own are not at hand."""
    from kornia.contrib.face_detection import YuNet

    path = tmp_path_factory.mktemp("weights") / "yunet_final.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(YuNet("test", pretrained=False).state_dict(), path)
    return path


class TestYuNet(LandmarkDetectorContract):
    """With a threshold of 0, so that it takes anything for a face."""

    name = "yunet"

    @pytest.fixture(autouse=True)
    def _weights(self, weights: Path) -> None:
        self.params = {"checkpoint": str(weights), "threshold": 0, "overlap": 0}


# --- refiners --------------------------------------------------------------------------------


class TestGuided(RefinerContract):
    name = "guided"


class TestGuidedOnACoarseGrid(RefinerContract):
    name = "guided"
    params = {"radius": 0.25, "eps": 1e-4}


class TestCleanup(RefinerContract):
    name = "cleanup"


class TestThoroughCleanup(RefinerContract):
    name = "cleanup"
    params = {"min_area": 1.0, "max_hole": 1.0}


# --- all -------------------------------------------------------------------------------------


def test_no_built_in_is_left_out() -> None:
    here = {value.name for value in globals().values() if isinstance(value, type)
            and hasattr(value, "expected_failures")}  # fmt: skip
    built_in = {
        entry.name
        for entry in registry().components
        if entry.origin.namespace == "covary"
        and entry.kind not in ("clusterer", "segmenter", "writer")
    }
    assert built_in - here == {"controlnet", "grounding-dino", "owlv2"}
