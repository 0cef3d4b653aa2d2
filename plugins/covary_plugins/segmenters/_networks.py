"""Networks that label every pixel, as transformers saves them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from covary import CheckpointError, InputError

from ..batches import placed
from ..hub.folders import Network, folder_of, hashes
from ..hub.networks import load_network, load_saved
from ..hub.quiet import quiet
from ._classes import Classes, ClassSet, class_of_each

__all__ = ["SemanticNetwork"]

_THINNEST = 8
"""Longer side of an image, of its shorter side, at most: the shorter one is scaled to a fixed
length."""
_SCORES = ("logits", "class_queries_logits", "masks_queries_logits")


class SemanticNetwork:
    """A loaded network with its image processor.

    Args:
        name: a folder in the layout of transformers, or a hub id whose files are in the cache.
        segmenter: name of the component, for messages.
        kinds: ``model_type`` of a configuration -> classes of network and processor.
        dtype: precision of its weights.

    Raises:
        CheckpointError: not there, of another kind, pickles only, or damaged.
    """

    def __init__(
        self, name: str, segmenter: str, kinds: Mapping[str, tuple[str, str]], dtype: torch.dtype
    ) -> None:
        import transformers

        self._name, self._segmenter, self._dtype = name, segmenter, dtype
        what = f"model {name} of segmenter {segmenter}"
        self._folder = folder_of(name, what, "transformers")
        network = Network.read(self._folder)
        fix = "`covary list segmenter` shows the segmenters for other networks"
        model, processor = kinds[network.kind(kinds, what, fix)]
        _check_backbone(network, what)
        with quiet():
            # An attention of the configuration's choosing could be code from elsewhere.
            options = {"attn_implementation": "eager"}
            self._model = load_network(getattr(transformers, model), options, network, dtype)
            self._processor = load_saved(getattr(transformers, processor), self._folder)
        # What was cut off would get no label, and the rest would be stretched over it.
        self._processor.do_center_crop = False
        self._device = torch.device("cpu")
        self._table = torch.zeros(0, dtype=torch.int64)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Every file that is loaded -> sha256."""
        return hashes(self._folder, self._name)

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self._model.config

    @property
    def labels(self) -> list[str]:
        """Its labels by number."""
        names = self.config.id2label
        return [str(names[i]) for i in range(len(names))]

    def keep(self, classes: Classes | None, usual: ClassSet) -> None:
        """Say which of its labels make up which class; see :func:`class_of_each`."""
        self._table = torch.tensor(class_of_each(classes, usual, self.labels, self._name))

    def to(self, device: torch.device) -> Self:
        """Itself, on a device.

        Raises:
            MemoryBudgetError: it does not fit there.
        """
        self._model = placed(self._model, device)
        self._table = self._table.to(device)
        self._device = device
        return self

    def segment(self, images: Tensor) -> Tensor:
        """The class of every pixel of uint8 (B, 3, H, W): int64 (B, H, W), on the device.

        Raises:
            InputError: images that are too thin, or scores that are not finite.
        """
        size = (int(images.shape[2]), int(images.shape[3]))
        with torch.inference_mode():
            output = self._model(**self._pixels(images, size))
            for name in _SCORES:
                if name in output:
                    output[name] = self._finite(output[name].float())
            found = self._processor.post_process_semantic_segmentation(
                output, target_sizes=[size] * len(images)
            )
            numbers = self._table[torch.stack(found)]
        # Tensors of inference mode could not be used with gradients later.
        return numbers.clone()

    def _pixels(self, images: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """What the network takes of images, on the device."""
        if max(size) > _THINNEST * min(size):
            raise InputError(
                f"images of segmenter {self._segmenter}",
                expected=f"a longer side of at most {_THINNEST} times the shorter",
                got=f"{size[1]}x{size[0]} pixels",
                fix="cut off a part that is less thin",
            )
        # The order of the axes is said, because it is guessed wrong where a side is 3 long.
        pixels = self._processor(
            images=[image.cpu().numpy() for image in images],
            input_data_format="channels_first",
            return_tensors="pt",
        )
        return {
            name: (values.to(self._dtype) if values.is_floating_point() else values).to(
                self._device
            )
            for name, values in pixels.items()
        }

    def _finite(self, scores: Tensor) -> Tensor:
        if not bool(scores.isfinite().all()):
            raise InputError(
                f"what {self._name} gives",
                expected="finite scores",
                got="NaN or infinity",
                fix="" if self._dtype == torch.float32 else "set dtype='float32'",
            )
        return scores


def _check_backbone(network: Network, what: str) -> None:
    """Refuse a configuration that names its backbone, which would be looked up elsewhere."""
    config: Mapping[str, Any] = network.config
    if config.get("backbone"):
        raise CheckpointError(
            what,
            expected="a configuration that holds that of its backbone (backbone_config)",
            got=f"the name of one, {config['backbone']!r}",
            fix="save it again with save_pretrained of a model that has backbone_config",
        )
