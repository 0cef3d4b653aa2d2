"""All built-in sources, feature spaces, rules and landmark detectors through their contracts.

Clusterers: ``test_clusterers.py``. ``controlnet``: ``controlnet/test_controlnet_contract.py``,
beside the small models that it needs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import covary
from covary._registry import registry
from covary.testing import (
    FeatureSpaceContract,
    ForegroundRuleContract,
    LandmarkDetectorContract,
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


class TestBox(ForegroundRuleContract):
    name = "box"
    params = {"boxes": [(4, 4, 28.4, 28)]}


class TestCornersInABox(ForegroundRuleContract):
    name = "box"
    params = {"boxes": [(4, 4, 28, 28), (0, 2, 20, 31)], "rule": {"use": "corner"}}


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


# --- all -------------------------------------------------------------------------------------


def test_no_built_in_is_left_out() -> None:
    here = {value.name for value in globals().values() if isinstance(value, type)
            and hasattr(value, "expected_failures")}  # fmt: skip
    built_in = {
        entry.name
        for entry in registry().components
        if entry.origin.namespace == "covary" and entry.kind != "clusterer"
    }
    assert built_in - here == {"controlnet"}
