"""What several contracts demand of what a component gives."""

from __future__ import annotations

import re
import unittest
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from covary import Box, InputError
from covary.testing._errors import ContractError
from covary.testing.contracts._base import require

__all__ = ["check_hashes", "check_inside", "explained", "on_device", "refuses"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def on_device(tensor: torch.Tensor, device: str) -> bool:
    """Whether a tensor lives on a device of that type."""
    return tensor.device.type == torch.device(device).type


def refuses(
    run: Callable[[], Any],
    what: str,
    fix: str,
    errors: tuple[type[Exception], ...] = (InputError,),
    words: str = "",
) -> None:
    """Require one of these errors, with these words in its message."""
    names = " or ".join(f"covary.{error.__name__}" for error in errors)
    try:
        run()
    except errors as error:
        said, about = str(error), f"the error about {what}"
        require(words in said, about, expected=f"it to say {words!r}", got=said, fix=fix)
        return
    except unittest.SkipTest:
        raise
    except Exception as error:
        raise ContractError(
            what, expected=names, got=f"{type(error).__name__}: {error}", fix=fix
        ) from error
    raise ContractError(what, expected=names, got="a result", fix=fix)


@contextmanager
def explained(
    name: str, fix: str = "handle it: small and plain images do occur, inside boxes for instance"
) -> Iterator[None]:
    """Say of which input an error is that is not the contract's own."""
    try:
        yield
    except (ContractError, unittest.SkipTest):
        raise
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise ContractError(name, expected="a result", got=got, fix=fix) from error


def check_inside(box: Box, image: torch.Tensor, what: str) -> None:
    """Require a box to lie within an image (3, H, W)."""
    height, width = (int(side) for side in image.shape[1:])
    require(
        0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height,
        what,
        expected=f"inside the image, x in 0..{width} and y in 0..{height}",
        got=str(box),
        fix="clip x0, y0, x1, y1 to the image, and leave out what has no pixel in it",
    )


def check_hashes(inputs: Any, what: str) -> None:
    """Require a mapping of names to sha256 digests."""
    good = isinstance(inputs, Mapping) and all(
        isinstance(name, str) and isinstance(digest, str) and _SHA256.fullmatch(digest)
        for name, digest in inputs.items()
    )
    require(
        good,
        what,
        expected="the name or path of each file that was read -> its sha256",
        got=repr(inputs),
        fix="use covary.files.file_sha256(path)",
    )
