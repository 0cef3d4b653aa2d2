"""Pictures to bytes and back: images without their colours touched, maps with their values kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from covary import InputError
from covary.images import to_pil

if TYPE_CHECKING:
    from covary import Sample

    from ._params import PictureParams

__all__ = ["Maps", "decode", "decode_image", "encode", "encode_image"]

_MOST = 2**16 - 1
_AGAIN = "generate the data set again"


class Maps(NamedTuple):
    """The tensors of a sample."""

    image: torch.Tensor
    mask: torch.Tensor
    instances: torch.Tensor | None


def encode(sample: Sample, how: PictureParams, palette: bytes | None = None) -> dict[str, bytes]:
    """The pictures of a sample by name: ``image``, ``mask``, and ``instances`` if it has them.

    Args:
        sample: whose.
        how: format of the image.
        palette: colours of the classes, 3 bytes each; None stores the mask in grey levels.

    Raises:
        InputError: more objects than 16 bits can number.
    """
    mask = to_pil(sample.mask)
    if palette is not None:
        mask.putpalette(palette)
    pictures = {"image": encode_image(sample.image, how), "mask": _encode_map(mask, how)}
    if sample.instances is not None:
        pictures["instances"] = _encode_map(_numbers(sample, sample.instances), how)
    return pictures


def encode_image(image: torch.Tensor, how: PictureParams) -> bytes:
    """An image, uint8 (3, H, W), in the format that the parameters say."""
    picture = to_pil(image)
    if how.image == "png":
        return _encode_map(picture, how)
    if how.image == "webp":
        return _saved(picture, format="WEBP", lossless=True)
    return _saved(picture, format="JPEG", quality=how.jpg_quality, subsampling=0)


def _encode_map(picture: Image.Image, how: PictureParams) -> bytes:
    return _saved(picture, format="PNG", compress_level=how.png_level)


def _numbers(sample: Sample, instances: torch.Tensor) -> Image.Image:
    if len(sample.objects) > _MOST:
        raise InputError(
            f"objects of sample {sample.key}",
            expected=f"{_MOST} at most, which 16 bits tell apart",
            got=str(len(sample.objects)),
        )
    return Image.fromarray(instances.numpy().astype(np.uint16))


def _saved(picture: Image.Image, **options: Any) -> bytes:
    stream = BytesIO()
    picture.save(stream, **options)
    return stream.getvalue()


def decode(pictures: Mapping[str, bytes], what: str) -> Maps:
    """The tensors that :func:`encode` made these pictures of.

    Raises:
        InputError: one is missing or damaged.
    """
    for name in ("image", "mask"):
        if name not in pictures:
            raise InputError(f"{name} of {what}", expected="a picture", got="none", fix=_AGAIN)
    instances = pictures.get("instances")
    return Maps(
        decode_image(pictures["image"], f"image of {what}"),
        _decode_map(pictures["mask"], f"mask of {what}"),
        None if instances is None else _decode_map(instances, f"instances of {what}"),
    )


def decode_image(data: bytes, what: str) -> torch.Tensor:
    """An image, uint8 (3, H, W).

    Raises:
        InputError: no whole picture, or none in colour.
    """
    pixels = _decoded(data, what, ("RGB",))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _decode_map(data: bytes, what: str) -> torch.Tensor:
    """A map as it was stored, (H, W): uint8 of 8 bits, int32 of 16."""
    values = _decoded(data, what, ("L", "P", "I", "I;16"))
    return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.int32))


def _decoded(data: bytes, what: str, modes: Collection[str]) -> np.ndarray[Any, Any]:
    expected = f"a picture of mode {' or '.join(modes)}"
    try:
        with Image.open(BytesIO(data)) as picture:
            mode, values = picture.mode, np.array(picture)
    except UnidentifiedImageError as error:  # whose words name an object of this process
        raise InputError(what, expected=expected, got="no picture", fix=_AGAIN) from error
    # Pillow's decoders meet damaged bytes with whatever their code happens to raise.
    except Exception as error:
        raise InputError(what, expected=expected, got=str(error), fix=_AGAIN) from error
    if mode not in modes:
        raise InputError(what, expected=expected, got=f"mode {mode}", fix=_AGAIN)
    return values
