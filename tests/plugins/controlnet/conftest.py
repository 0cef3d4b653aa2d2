"""Tiny random diffusion models, saved to disk as published ones are, and no network."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import covary
from covary.testing import worlds

SIDE = 32


@dataclass(frozen=True)
class Pair:
    """Folders of a model and a ControlNet that fit each other."""

    model: Path
    controlnet: Path

    def params(self, **others: Any) -> dict[str, Any]:
        """Parameters of a quick source; ``others`` go first."""
        return {
            "model": str(self.model),
            "controlnet": str(self.controlnet),
            "subject": "a cat",
            "n": 3,
            "batch": 3,
            "steps": 2,
            "size": SIDE,
            **others,
        }

    def open(self, query: Path | int, seed: int = 1, **params: Any) -> covary.Variants:
        """An opened query: a photo or, given an integer, a seed."""
        source = covary.create("controlnet", **self.params(**params))
        ctx = covary.RunContext(seed=seed).at("source", source.id)
        if isinstance(query, int):
            return source.open(covary.Query(seed=query), ctx)
        return source.open(covary.Query(paths=(query,)), ctx)

    def draw(self, query: Path | int, seed: int = 1, **params: Any) -> torch.Tensor:
        """Its variants, int32 (n, 3, H, W) so that differences can be taken."""
        variants = self.open(query, seed, **params)
        return torch.cat([batch.images for batch in variants.batches]).int()

    def copied(self, folder: Path) -> Pair:
        """The same files elsewhere, to be tampered with."""
        return Pair(
            shutil.copytree(self.model, folder / "model"),
            shutil.copytree(self.controlnet, folder / "controlnet"),
        )


@pytest.fixture(scope="session")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Stable Diffusion 1.5 in small."""
    return build_pair(tmp_path_factory.mktemp("sd"), xl=False)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Stable Diffusion XL in small."""
    return build_pair(tmp_path_factory.mktemp("sdxl"), xl=True)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A rendered avatar, 32x32."""
    path = tmp_path / "photo.png"
    covary.write_png(worlds.get("avatars").scene(3, (SIDE, SIDE)).images(0)[0], path)
    return path


@pytest.fixture(autouse=True)
def _no_network(no_network: None) -> None:
    """No test here may ask for it."""


def build_pair(folder: Path, xl: bool) -> Pair:
    """Random networks in the layout of diffusers; the same ones every time."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        _save(folder, xl)
    return Pair(folder / "model", folder / "controlnet")


def _save(folder: Path, xl: bool) -> None:
    import diffusers

    unet = diffusers.UNet2DConditionModel(**_unet_config(xl))
    controlnet = diffusers.ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=(8, 16)
    )
    for network, scale in ((unet, 0.02), (controlnet, 0.2)):
        with torch.no_grad():
            # The convolutions by which a ControlNet acts start at zero.
            for parameter in network.parameters():
                parameter.add_(scale * torch.randn_like(parameter))
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        sample_size=SIDE,
        force_upcast=xl,
    )
    parts = {
        "unet": unet,
        "vae": vae,
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
        ),
        "text_encoder": _text_encoder(projected=False),
        "tokenizer": _tokenizer(folder),
    }
    if xl:
        parts["text_encoder_2"] = _text_encoder(projected=True)
        parts["tokenizer_2"] = _tokenizer(folder)
        pipe = diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        others = {"safety_checker": None, "feature_extractor": None}
        pipe = diffusers.StableDiffusionPipeline(**parts, **others, requires_safety_checker=False)
    pipe.save_pretrained(folder / "model")
    controlnet.save_pretrained(folder / "controlnet")


def _unet_config(xl: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "sample_size": SIDE // 2,
        "in_channels": 4,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 64 if xl else 32,
        "attention_head_dim": (2, 4),
    }
    if xl:
        config |= {
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            # Six of those numbers and the pooled embedding.
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
        }
    return config


def _text_encoder(projected: bool) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=514,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=32,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    model = kind(config)
    with torch.no_grad():
        # As they are initialised, all prompts mean nearly the same.
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def _tokenizer(folder: Path) -> Any:
    """A CLIP tokenizer that spells: one token a byte."""
    import transformers

    symbols = list(_byte_symbols().values())
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def _byte_symbols() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + index) for index, byte in enumerate(others)
    }
