"""An aligned stack of images that something else made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

import covary
from covary import InputError, VariantSource

if TYPE_CHECKING:
    import torch

    from covary import Query, RunContext, VariantBatch, Variants

__all__ = ["Images"]


class Images(VariantSource):
    """Variants that exist already: a folder, several files, or an .npz of images.

    For what ComfyUI, a static camera or any other tool exported: images of one size whose
    structure lines up pixel by pixel while their appearance differs. All of them are variants,
    X_0 included. Images are read one at a time.

    A folder gives its image files (by suffix; hidden files and others are ignored) in natural
    order, ``2.png`` before ``10.png``. An .npz holds uint8 (n, 3, H, W) or (n, H, W, 3), RGB, and
    is loaded as a whole.
    """

    accepts = frozenset({"files"})

    class Params(covary.Params):
        x0: int | str | None = Field(
            None,
            description="Which image is X_0: its index from 0, or its file name with or without "
            "suffix. Unset: the first.",
        )
        key: str | None = Field(
            None, description="Name of the array in an .npz. Unset: the only one."
        )

    params: Params

    def open(self, query: Query, ctx: RunContext) -> Variants:
        """Open a stack; files are checked as they are read.

        Raises:
            InputError: fewer than two images, one that cannot be read or has another size than
                X_0, no such X_0, or an array of another shape or dtype.
        """
        from covary import Variants

        if not query.paths:
            raise InputError("query of source images", expected="files", got="a seed")
        stack = self._stack(query.paths)
        if len(stack.names) < 2:
            raise InputError(
                f"stack {query.paths[0]}",
                expected="at least 2 aligned images",
                got=str(len(stack.names)),
                fix="give a folder, several files or an .npz; one image alone has no variants",
            )
        x0 = self._x0(stack.names)
        image = stack.read(x0).to(ctx.device)
        return Variants(
            image=image,
            count=len(stack.names),
            batches=_batches(stack, stack.names[x0], image),
            inputs=stack.inputs(),
        )

    def _stack(self, paths: Sequence[Path]) -> _Stack:
        from ._stacks import ArrayStack, FileStack, image_files

        if len(paths) == 1 and paths[0].is_dir():
            return FileStack(image_files(paths[0]))
        if len(paths) == 1 and paths[0].suffix.lower() == ".npz":
            return ArrayStack(paths[0], self.params.key)
        for path in paths:
            if path.is_dir() or path.suffix.lower() == ".npz":
                raise InputError(
                    f"query of {len(paths)} paths",
                    expected="image files only, or one folder or .npz alone",
                    got=str(path),
                    fix="segment folders and .npz files one by one",
                )
        return FileStack(paths)

    def _x0(self, names: Sequence[str]) -> int:
        wanted = self.params.x0
        if wanted is None:
            return 0
        if isinstance(wanted, int):
            if 0 <= wanted < len(names):
                return wanted
            got, expected = str(wanted), f"an index in 0..{len(names) - 1}"
        else:
            matches = [i for i, name in enumerate(names) if wanted in _short_names(name)]
            if len(matches) == 1:
                return matches[0]
            got = f"{wanted!r}, which {len(matches)} of {len(names)} images are called"
            expected = "the name of one of the images"
        raise InputError(
            "parameter 'x0' of Images",
            expected=expected,
            got=got,
            fix=f"the images are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}",
        )


class _Stack(Protocol):
    """Images that are read by index."""

    @property
    def names(self) -> Sequence[str]:
        """What to call each of them."""

    def read(self, index: int) -> torch.Tensor:
        """uint8 (3, H, W)."""

    def inputs(self) -> Mapping[str, str]:
        """Path of each file -> sha256."""


def _short_names(name: str) -> tuple[str, str, str]:
    return name, Path(name).name, Path(name).stem


def _batches(stack: _Stack, x0: str, image: torch.Tensor) -> Iterator[VariantBatch]:
    from covary import VariantBatch

    for index, name in enumerate(stack.names):
        variant = stack.read(index)
        if variant.shape != image.shape:
            raise InputError(
                f"image {name}",
                expected=f"{_size(image)}, the size of {x0}",
                got=_size(variant),
                fix="resize or crop the images to one size; they must line up pixel by pixel",
            )
        yield VariantBatch(variant[None].to(image.device))


def _size(image: torch.Tensor) -> str:
    return f"{image.shape[2]}x{image.shape[1]} pixels"
