"""Grounding DINO and MM-Grounding-DINO of transformers.

The prompt is read as the networks were trained, ``coffee table. rug.``: full stops keep the
classes from reading each other. Each word has its own logit, and which words belong to which class
is known here from where they were put, rather than read back from the tokens as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from covary import InputError

from ._networks import Candidates, ZeroShotNetwork, corners
from ._prompts import Prompt

__all__ = ["GroundingDinoNetwork", "Words", "by_class"]


class Words(NamedTuple):
    """A prompt as tokens."""

    ids: list[int]
    classes: list[range]
    """Positions of each class's own words."""


class GroundingDinoNetwork(ZeroShotNetwork):
    """Either of the two, loaded.

    Always in float32: sampling positions of its attention would lose pixels in half precision.
    """

    detector = "grounding-dino"
    kinds = MappingProxyType(
        {
            "grounding-dino": "GroundingDinoForObjectDetection",
            "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
        }
    )
    # Eager attention adds the mask that keeps classes apart, which is of booleans, to its logits.
    attention = MappingProxyType({"": "eager", "backbone_config": "eager", "text_config": "sdpa"})
    image_processor = "GroundingDinoImageProcessorPil"
    tokenizer = "BertTokenizer"
    vocabulary = ("tokenizer.json", "vocab.txt")

    def __init__(self, name: str, text_threshold: float) -> None:
        super().__init__(name, torch.float32)
        self._text_threshold = text_threshold

    def find(self, image: Tensor, prompt: Prompt) -> Candidates:
        """Candidates whose class's words reach the text threshold."""
        words = self.words(prompt)
        ids = torch.tensor([words.ids], device=self._device)
        logits, boxes = self._run(
            {
                **self._pixels(image),
                "input_ids": ids,
                "token_type_ids": torch.zeros_like(ids),
                "attention_mask": torch.ones_like(ids),
            }
        )
        classes, scores, strengths = by_class(logits.sigmoid(), words.classes)
        height, width = image.shape[1:]
        sides = torch.tensor([width, height, width, height], device=boxes.device)
        sure = strengths >= self._text_threshold
        return Candidates((corners(boxes) * sides)[sure], scores[sure], classes[sure])

    def words(self, prompt: Prompt) -> Words:
        """A prompt as tokens.

        Raises:
            InputError: more of them than the network reads, or a class of unknown signs only.
        """
        tokenizer = self._tokenizer
        stop = tokenizer.convert_tokens_to_ids(".")
        context = _tokens(tokenizer, prompt.context)
        ids, classes = [int(tokenizer.cls_token_id)], []
        for name in prompt.classes:
            own = _tokens(tokenizer, name)
            if set(own) <= {tokenizer.unk_token_id}:
                raise InputError(
                    f"class {name!r} of detector {self.detector}",
                    expected="words that the network knows",
                    got="none",
                    fix="use English words",
                )
            classes.append(range(len(ids), len(ids) + len(own)))
            ids += [*own, *context, stop]
        ids.append(int(tokenizer.sep_token_id))
        most = min(self.config.max_text_len, self.config.text_config.max_position_embeddings)
        if len(ids) > most:
            raise InputError(
                f"prompt of detector {self.detector}",
                expected=f"at most {most} tokens",
                got=str(len(ids)),
                fix="name fewer classes, or use a shorter context",
            )
        return Words(ids, classes)


def by_class(probabilities: Tensor, classes: Sequence[range]) -> tuple[Tensor, Tensor, Tensor]:
    """The class of each box, by the words that it answers to.

    Args:
        probabilities: (Q, T), of each box and word.
        classes: for each class the positions of its words.

    Returns:
        For each box the class whose words are the most probable on average, int64 (Q,); the
        probability of its best word, which is the box's score; and that average.
    """
    means = torch.stack([probabilities[:, own].mean(dim=1) for own in classes], dim=1)
    best = torch.stack([probabilities[:, own].amax(dim=1) for own in classes], dim=1)
    strengths, chosen = means.max(dim=1)
    return chosen, best.gather(1, chosen[:, None])[:, 0], strengths


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text.lower(), add_special_tokens=False)) if text else []
