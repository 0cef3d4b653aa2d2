"""The networks among the detectors through the contract, with tiny random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from covary.testing import DetectorContract

# Importing transformers takes seconds: once is enough, where pytest-xdist runs with loadgroup.
pytestmark = pytest.mark.xdist_group("transformers")

PROMPT = "sofa, coffee table, lamp, side table, rug, in a livingroom"


class TestGroundingDino(DetectorContract):
    name = "grounding-dino"

    @pytest.fixture(autouse=True)
    def _model(self, dino: Path) -> None:
        self.params = {"model": str(dino), "prompt": PROMPT, "threshold": 0.9}


class TestMMGroundingDino(DetectorContract):
    name = "grounding-dino"

    @pytest.fixture(autouse=True)
    def _model(self, mm_dino: Path) -> None:
        self.params = {
            "model": str(mm_dino),
            "prompt": PROMPT,
            "threshold": 0,
            "text_threshold": 0,
        }


class TestOwlv2(DetectorContract):
    name = "owlv2"

    @pytest.fixture(autouse=True)
    def _model(self, owl: Path) -> None:
        self.params = {"model": str(owl), "prompt": PROMPT, "threshold": 0}
