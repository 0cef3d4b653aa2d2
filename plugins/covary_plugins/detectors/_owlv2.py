"""OWLv2 of transformers."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor

from covary import InputError

from ._networks import Candidates, ZeroShotNetwork, corners
from ._prompts import Prompt

__all__ = ["Owlv2Network"]


class Owlv2Network(ZeroShotNetwork):
    """OWLv2, loaded.

    Args:
        name: as for every network.
        dtype: precision of its weights.
        template: the sentence that a class is put into, at ``{}``.
    """

    detector = "owlv2"
    kinds = MappingProxyType({"owlv2": "Owlv2ForObjectDetection"})
    attention = MappingProxyType({"": "eager", "vision_config": "eager", "text_config": "eager"})
    image_processor = "Owlv2ImageProcessorPil"
    tokenizer = "CLIPTokenizer"
    vocabulary = ("tokenizer.json", "vocab.json")

    def __init__(self, name: str, dtype: torch.dtype, template: str) -> None:
        super().__init__(name, dtype)
        self._template = template

    def find(self, image: Tensor, prompt: Prompt) -> Candidates:
        """A candidate for each patch of the image, of the class that it resembles most."""
        logits, boxes = self._run({**self._pixels(image), **self._queries(prompt)})
        best, classes = logits.max(dim=1)
        # The image is padded to a square, which is what the boxes are relative to.
        return Candidates(corners(boxes) * max(image.shape[1:]), best.sigmoid(), classes)

    def _queries(self, prompt: Prompt) -> dict[str, Tensor]:
        sentences = [self._template.replace("{}", phrase).lower() for phrase in prompt.phrases()]
        most = int(self.config.text_config.max_position_embeddings)
        for sentence in sentences:
            length = len(self._tokenizer(sentence).input_ids)
            if length > most:
                raise InputError(
                    f"prompt of detector {self.detector}",
                    expected=f"classes of at most {most} tokens, in their sentence",
                    got=f"{length} in {sentence!r}",
                    fix="use fewer words for the class or the context, or a shorter template",
                )
        tokens = self._tokenizer(
            sentences, padding="max_length", max_length=most, return_tensors="pt"
        )
        return {name: tokens[name].to(self._device) for name in ("input_ids", "attention_mask")}
