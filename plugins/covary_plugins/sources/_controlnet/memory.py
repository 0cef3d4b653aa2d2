"""How much memory a batch and the weights take, roughly, from the configuration files."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .folders import Folders

__all__ = ["Working", "expected_itemsize", "weight_bytes", "working_bytes"]

# Numbers to a latent pixel and a channel of the first level: the skip connections of the UNet and
# of the ControlNet, and a transformer block. Counted on networks of the sizes of 1.5 (512, 768)
# and XL (1024), the tensors alive at once are 0.45 to 0.75 of the figures below; the rest is for
# workspaces and what the allocator wastes.
_UNET = 48


@dataclass(frozen=True, slots=True)
class Working:
    """Bytes beyond the weights."""

    denoising: int
    """Of one variant in the UNet and the ControlNet."""
    decoding: int
    """Of the VAE, which decodes variants one by one."""

    def of_batch(self, batch: int) -> int:
        """Of a batch on its way from noise to pixels."""
        return max(self.denoising * batch, self.decoding)


def expected_itemsize(dtype: str) -> int:
    """Bytes to a number before the device is known: CUDA is assumed where there is one."""
    if dtype == "auto":
        return 2 if torch.cuda.is_available() else 4
    return int(getattr(torch, dtype).itemsize)


def working_bytes(
    folders: Folders, size: tuple[int, int], itemsize: int, guidance: float
) -> Working:
    """What variants of (H, W) need: a rough estimate, rather too much than too little."""
    pixels = size[0] * size[1]
    unet, vae = folders.networks["unet"].config, folders.networks["vae"].config
    copies = 2 if guidance > 1 else 1
    latents = -(-pixels // folders.scale_factor**2)
    widest, second = (*vae["block_out_channels"], vae["block_out_channels"][-1])[:2]
    # The VAE of XL overflows in float16 and is run in float32.
    vae_itemsize = 4 if vae.get("force_upcast") else itemsize
    return Working(
        denoising=latents * unet["block_out_channels"][0] * _UNET * copies * itemsize,
        decoding=pixels * (2 * widest + 3 * second) * vae_itemsize,
    )


def weight_bytes(folders: Folders, itemsize: int, offload: str) -> int:
    """What the weights take on the device; with ``offload`` only what is there at once."""
    if offload == "sequential":
        return 0
    networks = dict(folders.networks)
    if offload == "model":
        # These two work together; the others come and go before and after.
        networks = {"unet": networks["unet"]}
    total = sum(network.parameters for network in networks.values())
    return (total + folders.controlnet.parameters) * itemsize
