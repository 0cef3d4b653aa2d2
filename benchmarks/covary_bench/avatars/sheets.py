"""Contact sheets of generated avatars, to judge training by eye."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from covary_plugins.stylegan2 import Generator, to_uint8

__all__ = ["mixing_sheet", "sample_sheet", "save_grid"]


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    """Images uint8 (N, 3, H, W) as one PNG, row by row; small ones are enlarged to 64 pixels."""
    n, _, height, width = images.shape
    rows = n // columns
    grid = images[: rows * columns].reshape(rows, columns, 3, height, width)
    sheet = grid.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    zoom = max(1, 64 // height)
    size = (columns * width * zoom, rows * height * zoom)
    Image.fromarray(sheet.cpu().numpy()).resize(size, Image.Resampling.NEAREST).save(path)


@torch.no_grad()
def sample_sheet(
    generator: Generator, path: Path, *, psi: float = 1.0, seed: int = 0, resolution: int = 64
) -> None:
    """64 samples of fixed latents, as RGB stands at ``resolution``."""
    ws = generator.mapping(_latents(generator, 64, seed), psi)
    save_grid(to_uint8(_image_at(generator, ws, resolution)), 8, path)


@torch.no_grad()
def mixing_sheet(
    generator: Generator, path: Path, c: int, *, psi: float = 0.8, resolution: int = 64
) -> None:
    """Rows share a structure, columns a style; the first column is the structure's own image."""
    structures = generator.mapping(_latents(generator, 8, seed=1), psi)
    styles = generator.mapping(_latents(generator, 9, seed=2), psi)
    rows = []
    for w in structures:
        mixed = generator.style_mix(w[None], styles, c)
        rows.append(_image_at(generator, torch.cat([w[None], mixed]), resolution))
    save_grid(to_uint8(torch.cat(rows)), 10, path)


def _image_at(generator: Generator, ws: Tensor, resolution: int) -> Tensor:
    synthesis = generator.synthesis
    return synthesis.advance(synthesis.start("none"), ws, synthesis.steps_to(resolution)).image


def _latents(generator: Generator, count: int, seed: int) -> Tensor:
    device = generator.mapping.w_avg.device
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator.z_dim, generator=noise).to(device)
