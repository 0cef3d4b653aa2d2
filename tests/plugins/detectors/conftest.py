"""Tiny random detectors, saved to disk as published ones are, and no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ("sofa", "coffee", "table", "lamp", "side", "rug", "in", "a", "living", "##room", "##s")

# Ids that Grounding DINO has built in.
_BERT = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}


@pytest.fixture(autouse=True)
def _no_network(no_network: None) -> None:
    """No test here may ask for it."""


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grounding DINO in small."""
    import transformers

    config = transformers.GroundingDinoConfig(**_dino_config())
    return _save(
        tmp_path_factory.mktemp("dino") / "dino",
        lambda: transformers.GroundingDinoForObjectDetection(config),
    )


@pytest.fixture(scope="session")
def mm_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MM-Grounding-DINO in small."""
    import transformers

    config = transformers.MMGroundingDinoConfig(**_dino_config())
    return _save(
        tmp_path_factory.mktemp("mm") / "mm",
        lambda: transformers.MMGroundingDinoForObjectDetection(config),
    )


@pytest.fixture(scope="session")
def owl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OWLv2 in small."""
    import transformers

    folder = tmp_path_factory.mktemp("owl") / "owl"
    vocabulary = _clip_vocabulary()
    config = transformers.Owlv2Config(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "bos_token_id": len(vocabulary) - 2,
            # The text's vector is read where the largest id is.
            "eos_token_id": len(vocabulary) - 1,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=16,
    )
    saved = _save(folder, lambda: transformers.Owlv2ForObjectDetection(config))
    size = {"height": 32, "width": 32}
    transformers.Owlv2ImageProcessorPil(size=size).save_pretrained(saved)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=64, pad_token="!"
    )
    tokenizer.save_pretrained(saved)
    return saved


def _dino_config() -> dict[str, Any]:
    import transformers

    return {
        "backbone_config": transformers.SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        "text_config": transformers.BertConfig(
            vocab_size=1100,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=64,
        ),
        "d_model": 64,
        "num_queries": 12,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "max_text_len": 48,
    }


def _save(folder: Path, make: Any, scale: float = 0.1) -> Path:
    """A network with random weights, the same ones every time, its processor and tokenizer."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = make()
        with torch.no_grad():
            # As they are initialised, all boxes are nearly the same.
            for parameter in model.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
    model.save_pretrained(folder)
    if "dino" in model.config.model_type:
        size = {"shortest_edge": 48, "longest_edge": 96}
        transformers.GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
        transformers.BertTokenizer(vocab=_bert_vocabulary()).save_pretrained(folder)
    return folder


def _bert_vocabulary() -> dict[str, int]:
    fixed = {index: word for word, index in _BERT.items()}
    words = iter(WORDS)
    listed = [fixed.get(i) or next(words, f"[unused{i}]") for i in range(1100)]
    return {word: i for i, word in enumerate(listed)}


def _clip_vocabulary() -> dict[str, int]:
    """One token a letter; the first is padding."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    return {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
