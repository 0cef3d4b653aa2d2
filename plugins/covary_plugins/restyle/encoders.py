"""ReStyle's encoders as modules with the checkpoints' parameter names, sized by their shapes.

A backbone (IR-SE or ResNet, Alaluf et al., "ReStyle: A Residual-Based StyleGAN Encoder via
Iterative Refinement", 2021) reduces the photo and its reconstruction to a small map, from which
one head for each layer of the generator reads a code. Widths, depths and the number of heads come
from the tensors, so that smaller encoders of the same layout load as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary.errors import CheckpointError
from covary_plugins.checkpoints import check_tensors, listed
from covary_plugins.stylegan2.layers import FullyConnected

__all__ = ["Encoder", "EncoderSizes", "build_encoder", "read_sizes"]

_IR_SE_50 = frozenset({0, 3, 7, 21})
"""Blocks of IR-SE-50 that halve the map. Where two stages are equally wide, no tensor shows it."""
_KINDS = {
    "BackboneEncoder": ("ir-se", False),
    "ResNetBackboneEncoder": ("resnet", False),
    "ProgressiveBackboneEncoder": ("ir-se", True),
    "ResNetProgressiveBackboneEncoder": ("resnet", True),
}
_FIX = "pass the part of a ReStyle checkpoint's state dict under 'encoder.'"


@dataclass(frozen=True, slots=True)
class EncoderSizes:
    """Everything that defines an encoder.

    Attributes:
        backbone: the kind of its blocks.
        progressive: e4e's codes, differences from the first, instead of pSp's.
        in_channels: 6, the photo and its reconstruction.
        widths: channels after the first convolution, then after every block.
        strides: of every block.
        head_convs: convolutions of one head, each halving the map.
        styles: heads, one for each layer of the generator.
        w_dim: size of a code.
    """

    backbone: Literal["ir-se", "resnet"]
    progressive: bool
    in_channels: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    head_convs: int
    styles: int
    w_dim: int

    @property
    def reduction(self) -> int:
        """Input pixels for each pixel of the map that the heads read, along one side."""
        first = 2 if self.backbone == "resnet" else 1
        return int(first * 2 ** sum(stride == 2 for stride in self.strides))


class Encoder(nn.Module):
    """Photo and reconstruction to the change of every layer's code."""

    def __init__(self, sizes: EncoderSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, n_in = sizes.widths[0], sizes.in_channels
        if sizes.backbone == "ir-se":
            self.input_layer = nn.Sequential(
                nn.Conv2d(n_in, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.PReLU(width),
            )
        else:
            self.conv1 = nn.Conv2d(n_in, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.relu = nn.PReLU(width)
        block = _IRBlock if sizes.backbone == "ir-se" else _ResNetBlock
        steps = zip(pairwise(sizes.widths), sizes.strides, strict=True)
        self.body = nn.Sequential(*(block(a, b, stride) for (a, b), stride in steps))
        self.styles = nn.ModuleList(
            _Head(sizes.widths[-1], sizes.w_dim, sizes.head_convs) for _ in range(sizes.styles)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Changes of the codes, float32 (B, S, W).

        Args:
            x: the photo beside the reconstruction so far, (B, 6, h, w) in [-1, 1].
        """
        if self.sizes.backbone == "ir-se":
            x = self.input_layer(x)
        else:
            x = self.relu(self.bn1(self.conv1(x)))
        x = self.body(x)
        codes = torch.stack([head(x) for head in self.styles], dim=1)
        if self.sizes.progressive:
            codes = torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], dim=1)
        return codes


class _IRBlock(nn.Module):
    """Residual block of an improved ResNet with squeeze and excitation."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        if n_in != n_out:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(n_in),
            nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            _SqueezeExcitation(n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "shortcut_layer"):
            shortcut = self.shortcut_layer(x)
        else:
            shortcut = x[:, :, :: self.stride, :: self.stride]
        out: Tensor = self.res_layer(x) + shortcut
        return out


class _SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        weight: Tensor = self.fc2(squeezed).sigmoid()
        return x * weight


class _ResNetBlock(nn.Module):
    """Basic block of a ResNet."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        if n_in != n_out or stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(out + shortcut)


class _Head(nn.Module):
    """Map to one code: convolutions that halve it down to one pixel, then a linear layer."""

    def __init__(self, n_in: int, w_dim: int, convs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(convs):
            layers += [nn.Conv2d(w_dim if i else n_in, w_dim, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnected(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.linear(self.convs(x).flatten(1))
        return code


def build_encoder(state: Mapping[str, Tensor], encoder_type: str | None = None) -> Encoder:
    """The encoder of ``state`` in evaluation mode, with its weights.

    Args:
        state: tensors without the prefix ``encoder.``.
        encoder_type: ReStyle's name of the class; None reads the backbone from the tensors and
            takes the codes for pSp's.

    Raises:
        CheckpointError: not an encoder, tensors missing or unknown, or another class than
            ``encoder_type`` says.
    """
    sizes = read_sizes(state, encoder_type)
    with torch.device("meta"):
        encoder = Encoder(sizes)
    network = encoder.state_dict()
    optional = {name for name in network if name.endswith("num_batches_tracked")}
    check_tensors(state, network, of="an encoder", fix=_FIX, optional=optional, prefix="encoder.")
    tensors = {
        name: torch.zeros((), dtype=torch.int64)
        if name in optional
        else state[name].detach().to(torch.float32, copy=True)
        for name in network
    }
    encoder.load_state_dict(tensors, assign=True)
    return encoder.eval().requires_grad_(False)


def read_sizes(state: Mapping[str, Tensor], encoder_type: str | None = None) -> EncoderSizes:
    """The sizes of the encoder whose tensors, or tensors' shapes, are in ``state``.

    Raises:
        CheckpointError: as `build_encoder`.
    """
    backbone: Literal["ir-se", "resnet"]
    if "input_layer.0.weight" in state:
        backbone, first, conv = "ir-se", "input_layer.0.weight", "res_layer.3.weight"
    elif "conv1.weight" in state:
        backbone, first, conv = "resnet", "conv1.weight", "conv2.weight"
    else:
        raise CheckpointError(
            "the encoder's state dict",
            expected="'input_layer.0.weight' (IR-SE) or 'conv1.weight' (ResNet)",
            got=listed(sorted(state)),
            fix=_FIX,
        )
    blocks = _count(state, r"body\.(\d{1,4})\." + re.escape(conv))
    styles = _count(state, r"styles\.(\d{1,4})\.linear\.weight")
    convs = _count(state, r"styles\.0\.convs\.(\d{1,4})\.weight", step=2)
    if not (blocks and styles and convs):
        raise CheckpointError(
            "the encoder's state dict",
            expected="blocks body.0, body.1, ... and heads styles.0, styles.1, ...",
            got=f"{blocks} blocks and {styles} heads of {convs} convolutions",
            fix="the file seems incomplete, or of another kind of encoder; " + _FIX,
        )
    width, in_channels = _shape(state, first, 4)[:2]
    widths = [_shape(state, f"body.{i}.{conv}", 4)[0] for i in range(blocks)]
    return EncoderSizes(
        backbone=backbone,
        progressive=_progressive(backbone, encoder_type),
        in_channels=in_channels,
        widths=(width, *widths),
        strides=_strides(state, backbone, blocks),
        head_convs=convs,
        styles=styles,
        w_dim=_shape(state, "styles.0.linear.weight", 2)[0],
    )


def _shape(state: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(state[name].shape)
    if len(shape) != dimensions or 0 in shape:
        raise CheckpointError(
            f"tensor 'encoder.{name}'",
            expected=f"{dimensions} dimensions, none of them empty",
            got=str(shape),
            fix="the file seems damaged or of another network; get it again",
        )
    return shape


def _progressive(backbone: str, encoder_type: str | None) -> bool:
    if encoder_type is None:
        return False
    if encoder_type not in _KINDS or _KINDS[encoder_type][0] != backbone:
        fitting = [name for name, (kind, _) in _KINDS.items() if kind == backbone]
        raise CheckpointError(
            "the encoder's type",
            expected=f"{' or '.join(fitting)}, as its tensors are of a backbone {backbone}",
            got=repr(encoder_type),
            fix="pass the options that belong to this checkpoint",
        )
    return _KINDS[encoder_type][1]


def _strides(state: Mapping[str, Tensor], backbone: str, blocks: int) -> tuple[int, ...]:
    if backbone == "resnet":
        return tuple(1 + (f"body.{i}.downsample.0.weight" in state) for i in range(blocks))
    if blocks == 24:
        return tuple(1 + (i in _IR_SE_50) for i in range(blocks))
    wider = (f"body.{i}.shortcut_layer.0.weight" in state for i in range(blocks))
    return tuple(1 + (i == 0 or found) for i, found in enumerate(wider))


def _count(state: Mapping[str, Tensor], pattern: str, step: int = 1) -> int:
    """How many of the numbers 0, step, 2 * step, ... occur in a row."""
    found = {int(m[1]) for name in state if (m := re.fullmatch(pattern, name))}
    return next(i for i in range(len(found) + 1) if i * step not in found)
