"""StyleGAN2 written straight from the papers' formulas: slow, in any dtype, one weight a sample.

The yardstick for speed, and an independent check for the generator's arithmetic. Nothing is shared
with it: weights are modulated and demodulated for every sample and convolved in groups (Karras et
al. 2020, Sec. 2.2 and Eq. 1-3), upsampling inserts zeros and filters, and residual branches are
added and divided by sqrt(2) (Sec. 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["mapping", "synthesis"]

State = Mapping[str, Tensor]


def mapping(
    state: State, z: Tensor, num_ws: int, *, lr: float = 0.01, classes: Tensor | None = None
) -> Tensor:
    """Codes (B, L, W) of z (B, Z) and ``classes`` (B,), not truncated, in z's dtype."""
    state = {name.removeprefix("mapping."): value.to(z.dtype) for name, value in state.items()}
    x = _normalised(z)
    if classes is not None:
        weight = state["embed.weight"] / state["embed.weight"].shape[1] ** 0.5
        rows = [_normalised((weight[:, c] + state["embed.bias"])[None]) for c in classes.tolist()]
        x = torch.cat([x, torch.cat(rows)], dim=1)
    for i in count():
        if f"fc{i}.weight" not in state:
            break
        weight = state[f"fc{i}.weight"] * lr / x.shape[1] ** 0.5
        x = _lrelu(x @ weight.T + state[f"fc{i}.bias"] * lr)
    return torch.stack([x] * num_ws, dim=1)


def synthesis(
    state: State,
    ws: Tensor,
    *,
    kind: str = "skip",
    clamp: float | None = None,
    noise: bool = True,
) -> Tensor:
    """Images (B, 3, H, W) of ws (B, L, W), in ws' dtype, with the stored noise."""
    state = {name.removeprefix("synthesis."): value.to(ws.dtype) for name, value in state.items()}
    x = state["b4.const"].expand(len(ws), -1, -1, -1)
    image = None
    resolution, index = 4, 0
    while f"b{resolution}.conv1.weight" in state:
        block = {
            name.removeprefix(f"b{resolution}."): value
            for name, value in state.items()
            if name.startswith(f"b{resolution}.")
        }
        before = x
        for layer in ("conv0", "conv1"):
            if f"{layer}.weight" in block:
                x = _conv_layer(block, layer, x, ws[:, index], clamp, noise)
                index += 1
        if "skip.weight" in block:
            weight = block["skip.weight"] / before.shape[1] ** 0.5
            past = _upsampled(F.conv2d(before, weight), block["skip.resample_filter"])
            x = (past + x) / 2**0.5
        if "torgb.weight" in block:
            rgb = _to_rgb(block, x, ws[:, index], clamp)
            image = rgb if image is None else rgb + _upsampled(image, block["resample_filter"])
        resolution *= 2
    if image is None:
        raise KeyError("no ToRGB layer in the state dict")
    return image


def _conv_layer(
    block: State, name: str, x: Tensor, w: Tensor, clamp: float | None, noise: bool
) -> Tensor:
    weight = block[f"{name}.weight"] * _style(block, name, w)[:, None, :, None, None]
    weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    up = name == "conv0"
    x = _grouped(x, weight, up=up)
    if up:
        x = _filtered(F.pad(x, (1, 1, 1, 1)), block[f"{name}.resample_filter"] * 4)
    if noise and f"{name}.noise_const" in block:
        x = x + block[f"{name}.noise_const"] * block[f"{name}.noise_strength"]
    x = _lrelu(x + block[f"{name}.bias"][:, None, None])
    return x if clamp is None else x.clamp(-clamp, clamp)


def _to_rgb(block: State, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
    style = _style(block, "torgb", w) / x.shape[1] ** 0.5
    weight = block["torgb.weight"] * style[:, None, :, None, None]
    rgb = _grouped(x, weight, up=False) + block["torgb.bias"][:, None, None]
    return rgb if clamp is None else rgb.clamp(-clamp, clamp)


def _style(block: State, name: str, w: Tensor) -> Tensor:
    weight: Tensor = block[f"{name}.affine.weight"] / w.shape[1] ** 0.5
    return F.linear(w, weight, block[f"{name}.affine.bias"])


def _grouped(x: Tensor, weight: Tensor, *, up: bool) -> Tensor:
    """Every sample of x (B, I, H, W) by its own weights (B, O, I, k, k)."""
    batch, o, i, k = *weight.shape[:3], weight.shape[-1]
    x = x.reshape(1, batch * i, *x.shape[2:])
    if up:
        stacked = weight.transpose(1, 2).reshape(batch * i, o, k, k)
        y = F.conv_transpose2d(x, stacked, stride=2, groups=batch)
    else:
        y = F.conv2d(x, weight.reshape(batch * o, i, k, k), padding=k // 2, groups=batch)
    return y.reshape(batch, o, *y.shape[2:])


def _upsampled(image: Tensor, f: Tensor) -> Tensor:
    """Zeros inserted, two pixels of margin before and one behind, then the filter (4, 4)."""
    batch, channels, height, width = image.shape
    x = image.new_zeros(batch, channels, 2 * height, 2 * width)
    x[:, :, ::2, ::2] = image
    return _filtered(F.pad(x, (2, 1, 2, 1)), f * 4)


def _filtered(x: Tensor, f: Tensor) -> Tensor:
    channels = x.shape[1]
    kernel = f.flip(0, 1).expand(channels, 1, *f.shape)  # F.conv2d correlates
    return F.conv2d(x, kernel, groups=channels)


def _normalised(x: Tensor) -> Tensor:
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * 2**0.5
