"""StyleGAN2 in plain PyTorch and readers for its checkpoints, for the sources that need them."""

from __future__ import annotations

from .architecture import Architecture
from .generator import Generator, Prefix, Synthesis
from .ops import to_uint8
from .reader import load_generator, read_metadata, save_safetensors

__all__ = [
    "Architecture",
    "Generator",
    "Prefix",
    "Synthesis",
    "load_generator",
    "read_metadata",
    "save_safetensors",
    "to_uint8",
]
