"""The segmenters from transformers through the contract, with tiny random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from covary.testing import SegmenterContract

# Importing transformers takes seconds: once is enough, where pytest-xdist runs with loadgroup.
pytestmark = pytest.mark.xdist_group("transformers")

CLASSES = ["sofa", "coffee table", "table", "person"]


class Saved(SegmenterContract):
    __test__ = False
    model = ""

    @pytest.fixture(autouse=True)
    def _model(self, folders: Callable[[str], Path]) -> None:
        self.params = {"checkpoint": str(folders(self.model)), "classes": CLASSES, "batch": 2}


class TestUperNet(Saved):
    __test__ = True
    name, model = "upernet", "upernet"


class TestDeepLab(Saved):
    __test__ = True
    name, model = "deeplab", "mobilevit"


class TestMask2Former(Saved):
    __test__ = True
    name, model = "mask2former", "mask2former"
