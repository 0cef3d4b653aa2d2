"""Photos into StyleGAN2's latent space: ReStyle's encoders (pSp and e4e) and their checkpoints."""

from __future__ import annotations

from .contents import Parts, read_parts
from .inverter import Inversion, Inverter
from .reader import build_inverter, load_inverter

__all__ = ["Inversion", "Inverter", "Parts", "build_inverter", "load_inverter", "read_parts"]
