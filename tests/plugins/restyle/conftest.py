"""Checkpoints of a small ReStyle encoder and decoder, in the layouts that users have.

The networks are random; their outputs come from the public implementation. Of the pSp encoder only
two heads of eight are kept, and no decoder, but the images that the decoder made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from covary import read_image

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Known:
    """One fixture: parameters under the original names, inputs, and what must come out."""

    def __init__(self, name: str) -> None:
        folder = FIXTURES / name
        self.state: dict[str, Tensor] = load_file(folder / "state.safetensors")
        self.io: dict[str, Tensor] = load_file(folder / "io.safetensors")
        self.opts: dict[str, Any] = json.loads((folder / "facts.json").read_text())["opts"]
        self.photo = folder / "photo.png"
        self.images = read_image(self.photo)[None]

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.state.items()
            if name.startswith(prefix)
        }

    def checkpoint(self, **changed: Any) -> dict[str, Any]:
        """The whole checkpoint as ReStyle saves it, with some entries changed."""
        whole = {
            "state_dict": dict(self.state),
            "opts": dict(self.opts),
            "latent_avg": self.io["latent_avg"],
        }
        return whole | changed


@pytest.fixture(scope="session")
def e4e() -> Known:
    return Known("restyle_e4e")


@pytest.fixture(scope="session")
def psp() -> Known:
    return Known("restyle_psp")


@pytest.fixture(scope="session")
def e4e_file(e4e: Known, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("restyle") / "e4e.pt"
    torch.save(e4e.checkpoint(), path)
    return path
