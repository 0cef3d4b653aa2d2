"""The style summary tensor: n variants' features per pixel, stored compactly."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .errors import InputError, MemoryBudgetError

if TYPE_CHECKING:
    from .types import Box

__all__ = ["StyleSummary", "SummaryBuilder"]

_STORED = (torch.uint8, torch.float16, torch.float32)
# Enough rows to keep a matrix product busy, few enough that float32 chunks stay small.
_CHUNK_BYTES = 16 * 2**20
# Converted rows that are still in the cache when they are transposed.
_CONVERTED_BYTES = 4 * 2**20


class StyleSummary:
    """The H x W x D tensor that a clusterer sees (paper Sec. 3.1), D = C*n features a pixel.

    Pixels are in raster order. The data stay in the compact dtype they were stored in (uint8 or
    float16 in covary's own pipelines) and in the layout they were written in; ``rows`` converts
    a chunk to float32 at a time, so the whole never exists in float32 unless asked for.

    Args:
        data: uint8, float16 or float32 of shape (N, D), any strides: ``planar.T`` of a planar
            (D, N) tensor costs nothing.
        size: (H, W) with H*W = N.

    Raises:
        InputError: dtype, shape or size do not fit, or a value is not finite.
    """

    __slots__ = ("data", "size")

    def __init__(self, data: torch.Tensor, size: tuple[int, int]) -> None:
        if not isinstance(data, torch.Tensor) or data.dtype not in _STORED:
            raise InputError(
                "style summary",
                expected="a tensor of uint8, float16 or float32",
                got=f"{type(data).__name__} {getattr(data, 'dtype', '')}".rstrip(),
                fix="use StyleSummary.from_matrix, which converts",
            )
        if data.ndim != 2 or 0 in data.shape:
            got = str(tuple(data.shape))
            raise InputError("style summary", expected="shape (N, D), not empty", got=got)
        self.data = data
        self.size = _check_size(size, data.shape[0])
        self._check_finite()

    @classmethod
    def from_matrix(
        cls, matrix: np.ndarray[Any, Any] | torch.Tensor, size: tuple[int, int]
    ) -> StyleSummary:
        """A summary of your own data.

        Args:
            matrix: (N, D), numpy or torch, pixels in raster order. uint8, float16 and float32
                are kept as they are (and shared, not copied, where possible); float64 and wider
                integers become float32.
            size: (H, W) with H*W = N.

        Raises:
            InputError: as the constructor's.
        """
        tensor = _from_numpy(matrix) if isinstance(matrix, np.ndarray) else matrix
        if not isinstance(tensor, torch.Tensor):
            got = type(matrix).__name__
            raise InputError("matrix", expected="a numpy array or torch tensor (N, D)", got=got)
        if tensor.is_complex() or tensor.dtype == torch.bool:
            raise InputError("matrix", expected="real numbers", got=str(tensor.dtype))
        if tensor.dtype not in _STORED:
            tensor = tensor.to(torch.float32)
        return cls(tensor.detach(), size)

    @classmethod
    def from_images(
        cls, images: np.ndarray[Any, Any] | torch.Tensor, space: str = "lab"
    ) -> StyleSummary:
        """A summary of an aligned stack of images.

        Args:
            images: uint8 (n, 3, H, W), RGB.
            space: name of a feature space.

        Raises:
            InputError: another dtype or shape.
            UnknownNameError: no feature space of that name.
        """
        from ._registry import create
        from .types import VariantBatch

        tensor = _from_numpy(images) if isinstance(images, np.ndarray) else images
        batch = VariantBatch(tensor)
        features = create(space, kind="features")
        builder = SummaryBuilder(
            count=len(tensor),
            channels=features.channels,
            size=(tensor.shape[2], tensor.shape[3]),
            dtype=getattr(torch, features.dtype),
            device=tensor.device,
        )
        for one in batch.images.split(1):
            builder.add(features.encode(VariantBatch(one)))
        return builder.finish()

    @property
    def pixels(self) -> int:
        """N = H*W."""
        return int(self.data.shape[0])

    @property
    def features(self) -> int:
        """D = C*n."""
        return int(self.data.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the data are stored."""
        return self.data.dtype

    @property
    def device(self) -> torch.device:
        """Where the data live."""
        return self.data.device

    @property
    def nbytes(self) -> int:
        """Bytes of the stored data."""
        return self.data.numel() * self.data.element_size()

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Pixels start..stop-1 as float32 (stop-start, D); strides follow the stored layout."""
        return self.data[start:stop].to(torch.float32)

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """The pixels at ``index``, int64 (M,), as float32 (M, D)."""
        return self.data[index.to(self.device)].to(torch.float32)

    def chunks(self, max_bytes: int = _CHUNK_BYTES) -> Iterator[tuple[int, torch.Tensor]]:
        """(start, rows) over all pixels, each chunk at most about ``max_bytes`` in float32."""
        step = max(1, max_bytes // (4 * self.features))
        for start in range(0, self.pixels, step):
            yield start, self.rows(start, min(start + step, self.pixels))

    def matrix(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The whole as a new contiguous (N, D) tensor of ``dtype``; 4*N*D bytes in float32."""
        whole = torch.empty(self.data.shape, dtype=dtype, device=self.device)
        if dtype == self.dtype:
            return whole.copy_(self.data)
        # Two quick steps, a chunk at a time: one copy_ that converts and transposes is slow.
        for start, rows in self.chunks(_CONVERTED_BYTES):
            whole[start : start + len(rows)] = rows
        return whole

    def crop(self, box: Box) -> StyleSummary:
        """The summary of the pixels inside ``box``, compact as this one.

        Raises:
            InputError: the box does not lie inside the image.
        """
        rows, columns = box.inside(self.size).slices
        planes = self.data.T.reshape(self.features, *self.size)
        inner = planes[:, rows, columns].contiguous()
        return StyleSummary(inner.reshape(self.features, -1).T, (inner.shape[1], inner.shape[2]))

    def to(self, device: torch.device | str) -> StyleSummary:
        """This summary on ``device``."""
        moved = self.data.to(device)
        return self if moved is self.data else StyleSummary(moved, self.size)

    def __repr__(self) -> str:
        height, width = self.size
        return (
            f"StyleSummary({height}x{width} pixels, {self.features} features, "
            f"{str(self.dtype).removeprefix('torch.')}, {self.nbytes / 2**20:.1f} MiB, "
            f"{self.device})"
        )

    def _check_finite(self) -> None:
        if self.dtype == torch.uint8:
            return
        # In the order of memory this is one fast read; NaN comes out as both ends.
        planar = self.data.stride(0) < self.data.stride(1)
        if all(torch.isfinite(end) for end in (self.data.T if planar else self.data).aminmax()):
            return
        pixel = next(
            start + int((~torch.isfinite(rows)).any(dim=1).nonzero()[0])
            for start, rows in self.chunks()
            if not bool(torch.isfinite(rows).all())
        )
        raise InputError(
            "style summary",
            expected="finite values",
            got=f"NaN or infinity at pixel {pixel}",
            fix="remove or replace such pixels first",
        )


class SummaryBuilder:
    """Writes features batch by batch into the compact planar tensor of a style summary.

    Args:
        count: n, variants to come.
        channels: C, features a pixel of each variant.
        size: (H, W).
        dtype: how to store them.
        device: where.
    """

    def __init__(
        self,
        *,
        count: int,
        channels: int,
        size: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.count, self.channels, self.size = count, channels, size
        self.done = 0
        try:
            self._planes = torch.empty((count * channels, *size), dtype=dtype, device=device)
        except RuntimeError as error:  # torch has no class of its own for this on the CPU
            raise MemoryBudgetError(f"no memory for the style summary: {error}") from error

    def add(self, features: torch.Tensor) -> None:
        """Append (B, C, H, W) in the promised dtype, C and (H, W) as promised.

        Raises:
            InputError: another dtype or shape, or more variants than promised.
        """
        if features.dtype != self._planes.dtype:
            raise InputError(
                f"features of variant {self.done}",
                expected=f"dtype {str(self._planes.dtype).removeprefix('torch.')}",
                got=str(features.dtype).removeprefix("torch."),
                fix="encode must return the dtype that its feature space declares",
            )
        expected = (self.channels, *self.size)
        if tuple(features.shape[1:]) != expected:
            raise InputError(
                f"features of variant {self.done}",
                expected=f"(B, {', '.join(map(str, expected))})",
                got=str(tuple(features.shape)),
                fix="all variants of a query must have the same size",
            )
        start, stop = self.done, self.done + len(features)
        if stop > self.count:
            raise InputError("variants", expected=f"{self.count} of them", got=f"{stop} or more")
        rows = slice(start * self.channels, stop * self.channels)
        self._planes[rows] = features.reshape(-1, *self.size)
        self.done = stop

    def finish(self) -> StyleSummary:
        """The summary.

        Raises:
            InputError: fewer variants arrived than were promised.
        """
        if self.done != self.count:
            raise InputError("variants", expected=f"{self.count} of them", got=str(self.done))
        return StyleSummary(self._planes.reshape(len(self._planes), -1).T, self.size)


def _check_size(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """``size`` as plain integers if it is (H, W) with H*W = ``pixels``."""
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1 or height * width != pixels:
        expected = f"(H, W) with H*W = {pixels}"
        raise InputError("style summary size", expected=expected, got=str(size))
    return height, width


def _from_numpy(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """The array as a tensor, shared where torch can take its dtype and strides as they are."""
    if array.dtype.kind not in "iuf":
        raise InputError("array", expected="real numbers", got=f"dtype {array.dtype}")
    if array.dtype not in (np.uint8, np.float16, np.float32):
        array = array.astype(np.float32)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
