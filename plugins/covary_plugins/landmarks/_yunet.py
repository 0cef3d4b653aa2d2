"""YuNet's weights read as data, and its output decoded into points.

kornia's own detector class downloads weights whenever it is made, hence only its network is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from covary import CheckpointError
from covary_plugins.checkpoints import load_tensors, read_checkpoint

__all__ = ["decode", "find_faces", "load"]

# Stride of each map of anchors, and the sides of its square anchors in pixels.
_ANCHORS = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
# Candidates compared with each other: a square matrix of them is held.
_CANDIDATES = 2000
_FIX = "get yunet_final.pth of the kornia project"


def load(path: Path) -> nn.Module:
    """YuNet in evaluation mode with the weights at ``path``.

    Raises:
        CheckpointError: not a file of tensors, or another network's.
    """
    from kornia.contrib import face_detection

    state = load_tensors(read_checkpoint(path, wanted="YuNet's weights"))
    what = f"checkpoint {path}"
    if not isinstance(state, Mapping):
        got = f"a {type(state).__name__}"
        raise CheckpointError(what, expected="YuNet's weights", got=got, fix=_FIX)
    # kornia 0.8 has it under another name.
    name = "YuNet" if hasattr(face_detection, "YuNet") else "YuFaceDetectNet"
    # The weights that it starts from are random, and must not move torch's global generator.
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = getattr(face_detection, name)("test", pretrained=False)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            what, expected="YuNet's weights", got="tensors of another network", fix=_FIX
        ) from error
    return network.eval().requires_grad_(False)


def find_faces(
    network: nn.Module, image: Tensor, *, threshold: float, overlap: float, max_side: int
) -> list[Tensor]:
    """The five points (5, 2) of each face in ``image``, uint8 (3, H, W), the surest first."""
    height, width = image.shape[1:]
    scale = min(1.0, max_side / max(height, width))
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    # The network was trained on BGR in [0, 255].
    pixels = image.flip(0)[None].float()
    if small != (height, width):
        pixels = F.interpolate(pixels, small, mode="bilinear", antialias=True)
    # Every map must have whole cells.
    pixels = F.pad(pixels, (0, -small[1] % 64, 0, -small[0] % 64))
    with torch.inference_mode():
        found = network(pixels)
    scores = found["conf"][0, :, 1] * found["iou"][0, :, 0].clamp(0, 1)
    boxes, points = decode(found["loc"][0], (pixels.shape[2], pixels.shape[3]))
    kept = _distinct(boxes, scores.sqrt(), threshold, overlap)
    back = torch.tensor([width / small[1], height / small[0]], device=points.device)
    # Anchors count from a pixel's corner, landmarks from the middle of the first pixel.
    return [(points[i] * back - 0.5).cpu() for i in kept]


def decode(loc: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes (A, 4) as x0, y0, x1, y1 and points (A, 5, 2) in pixels of an image (H, W).

    Args:
        loc: float32 (A, 14), offsets of each anchor: centre, log size, five points; the anchors
            in the order of the maps, then of rows, columns and sizes.
    """
    anchors = _anchors(size).to(loc.device)
    centre, side = anchors[:, None, :2], anchors[:, None, 2:]
    places = centre + loc.view(-1, 7, 2) * _CENTRE_VARIANCE * side
    extent = side[:, 0] * torch.exp(loc[:, 2:4] * _SIZE_VARIANCE)
    low = places[:, 0] - extent / 2
    return torch.cat([low, low + extent], dim=1), places[:, 2:]


def _anchors(size: tuple[int, int]) -> Tensor:
    """Centre and side (x, y, side) of every anchor, float32 (A, 3)."""
    maps = []
    for stride, sides in _ANCHORS:
        rows, columns = size[0] // stride, size[1] // stride
        y, x, side = torch.meshgrid(
            (torch.arange(rows) + 0.5) * stride,
            (torch.arange(columns) + 0.5) * stride,
            torch.tensor(sides, dtype=torch.float32),
            indexing="ij",
        )
        maps.append(torch.stack([x, y, side], dim=-1).view(-1, 3))
    return torch.cat(maps)


def _distinct(boxes: Tensor, scores: Tensor, threshold: float, overlap: float) -> list[int]:
    """Indices of the surest boxes, by falling score, that overlap no surer one."""
    from kornia.geometry.bbox import nms

    order = scores.argsort(descending=True, stable=True)[:_CANDIDATES]
    sure = order[scores[order] > threshold]
    if not len(sure):
        return []
    # Sorted, so that indices rise as scores fall.
    return [int(i) for i in sure[nms(boxes[sure], scores[sure], overlap).sort().values]]
