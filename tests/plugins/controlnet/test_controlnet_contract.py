"""The source ``controlnet`` through the contract of sources, with tiny random models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import covary
from covary.testing import VariantSourceContract

if TYPE_CHECKING:
    from .conftest import Pair

pytestmark = pytest.mark.xdist_group("diffusers")


class TestPhotos(VariantSourceContract):
    name = "controlnet"

    @pytest.fixture(autouse=True)
    def _models(self, sd: Pair) -> None:
        self.params = sd.params()

    def query(self, folder: Path) -> covary.Query:
        return self._photo_query(folder, 0)

    def other_query(self, folder: Path) -> covary.Query:
        return self._photo_query(folder, 1)


class TestSeeds(VariantSourceContract):
    """X_0 is drawn from a map, and so are its variants."""

    name = "controlnet"

    @pytest.fixture(autouse=True)
    def _models(self, sd: Pair, photo: Path) -> None:
        self.params = sd.params(control=str(photo))
