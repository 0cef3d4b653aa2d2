"""Networks that find classes by their words, as transformers saves them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from covary import CheckpointError, InputError, MemoryBudgetError

from ..hub.folders import Network, folder_of, hashes
from ..hub.networks import load_network, load_saved
from ..hub.quiet import quiet
from ._prompts import Prompt

__all__ = ["Candidates", "ZeroShotNetwork", "corners", "fitting"]


class Candidates(NamedTuple):
    """What a network found, before any box is left out."""

    boxes: Tensor
    """float32 (N, 4), x0, y0, x1, y1 in pixels; may reach outside the image."""
    scores: Tensor
    """float32 (N,) in 0..1."""
    classes: Tensor
    """int64 (N,), index into the prompt's classes."""


class ZeroShotNetwork(ABC):
    """A loaded network with its image processor and tokenizer.

    Args:
        name: a folder in the layout of transformers, or a hub id whose files are in the cache.
        dtype: precision of its weights.

    Raises:
        CheckpointError: not there, of another kind, pickles only, or damaged.
    """

    detector: ClassVar[str]
    """Name of the component, for messages."""
    kinds: ClassVar[Mapping[str, str]]
    """``model_type`` of a configuration -> class of transformers."""
    attention: ClassVar[Mapping[str, str]]
    """Implementation by part; one of the configuration's choosing could be code from elsewhere."""
    image_processor: ClassVar[str]
    tokenizer: ClassVar[str]
    vocabulary: ClassVar[tuple[str, ...]]
    """Files of which the tokenizer needs one."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        import transformers

        self._name = name
        self._folder = folder_of(name, f"model of detector {self.detector}", "transformers")
        network = Network.read(self._folder)
        kind = self._kind(network)
        self._check_vocabulary()
        with quiet():
            options = {"attn_implementation": dict(self.attention)}
            self._model = load_network(getattr(transformers, kind), options, network, dtype)
            self._processor = load_saved(getattr(transformers, self.image_processor), self._folder)
            self._tokenizer = load_saved(getattr(transformers, self.tokenizer), self._folder)
        self._dtype, self._device = dtype, torch.device("cpu")

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self._model.config

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Every file that is loaded -> sha256; takes seconds for gigabytes."""
        return hashes(self._folder, self._name)

    def to(self, device: torch.device) -> Self:
        """Itself, on a device."""
        self._model.to(device)
        self._device = device
        return self

    @abstractmethod
    def find(self, image: Tensor, prompt: Prompt) -> Candidates:
        """Candidates for the classes of a prompt in uint8 (3, H, W).

        Raises:
            InputError: a prompt that is longer than the network reads, an image that is too thin
                for it, or results that are not finite.
        """

    def _pixels(self, image: Tensor) -> dict[str, Tensor]:
        """What the network takes of an image, on the device."""
        try:
            # The order of the axes is said, because it is guessed wrong where a side is 3 long.
            pixels = self._processor(
                images=image.cpu().numpy(), input_data_format="channels_first", return_tensors="pt"
            )
        except (ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"image of detector {self.detector}",
                expected="sides that the network can resize",
                got=f"{image.shape[2]}x{image.shape[1]} pixels",
                fix="cut off a part that is less thin",
            ) from error
        return {
            name: (values.to(self._dtype) if values.is_floating_point() else values).to(
                self._device
            )
            for name, values in pixels.items()
        }

    def _run(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (Q, T) and relative boxes (Q, 4), centre and size, in float32.

        Raises:
            InputError: boxes that are not finite.
        """
        with torch.inference_mode():
            output = self._model(**inputs)
        logits, boxes = output.logits[0].float(), output.pred_boxes[0].float()
        # Padding is minus infinity.
        if bool(logits.isnan().any()) or not bool(boxes.isfinite().all()):
            raise InputError(
                f"what {self._name} gives",
                expected="finite scores and boxes",
                got="NaN or infinity",
                fix="" if self._dtype == torch.float32 else "set dtype='float32'",
            )
        return logits, boxes

    def _kind(self, network: Network) -> str:
        what = f"model {self._name} of detector {self.detector}"
        fix = "`covary list detector` shows the detectors for other networks"
        return self.kinds[network.kind(self.kinds, what, fix)]

    def _check_vocabulary(self) -> None:
        # Without any, transformers makes a tokenizer that knows no word.
        if not any((self._folder / name).is_file() for name in self.vocabulary):
            raise CheckpointError(
                f"tokenizer in {self._folder}",
                expected=" or ".join(self.vocabulary),
                got="none of them",
                fix="fetch the whole folder again",
            )


def corners(boxes: Tensor) -> Tensor:
    """x0, y0, x1, y1 of boxes (..., 4) given by centre and size."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


@contextmanager
def fitting(device: torch.device) -> Iterator[None]:
    """A block whose lack of memory is reported with the way out."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise MemoryBudgetError(
            f"the detector does not fit on device {device}",
            got=str(error).split(". ")[0],
            fix="use a smaller model, or device='cpu'",
        ) from None
