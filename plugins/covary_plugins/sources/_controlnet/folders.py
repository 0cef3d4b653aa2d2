"""Where the weights are, and whether they are what they should be; reads no tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from covary import CheckpointError
from covary.provenance import file_sha256

from ...hub.folders import Network, folder_of, read_json

__all__ = ["Folders", "find_folders"]


_CONTROLNET = "ControlNet"
_MODEL = "Stable Diffusion pipeline"


@dataclass(frozen=True)
class Folders:
    """A Stable Diffusion pipeline and a ControlNet that fit each other."""

    model: Path
    controlnet: Network
    networks: Mapping[str, Network]
    """By the pipeline's names: unet, vae, text_encoder and, for XL, text_encoder_2."""
    scheduler: Mapping[str, Any]
    """Its configuration."""
    force_zeros: bool
    """XL: whether no negative prompt means zeros instead of an empty text."""
    names: tuple[str, str]
    """What the user called the model and the ControlNet."""

    @property
    def is_xl(self) -> bool:
        """Whether it is Stable Diffusion XL."""
        return "text_encoder_2" in self.networks

    @property
    def tokenizers(self) -> dict[str, Path]:
        """Folders of the tokenizers, by the pipeline's names."""
        names = ("tokenizer", "tokenizer_2") if self.is_xl else ("tokenizer",)
        return {name: self.model / name for name in names}

    @property
    def scale_factor(self) -> int:
        """Pixels to a latent."""
        return int(2 ** (len(self.networks["vae"].config["block_out_channels"]) - 1))

    @property
    def native_side(self) -> int:
        """Side in pixels of the images that the model was trained on, a multiple of 8."""
        side = int(self.networks["unet"].config.get("sample_size") or 64) * self.scale_factor
        return max(8, side // 8 * 8)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Every file that is loaded -> sha256; takes seconds for gigabytes."""
        model, controlnet = self.names
        found = {}
        for name, network in self.networks.items():
            for path in (network.folder / "config.json", *network.weights):
                found[f"{model}/{name}/{path.name}"] = file_sha256(path)
        others = [folder / name for folder in self.tokenizers.values() for name in _TOKENIZER]
        others.append(self.model / "scheduler" / "scheduler_config.json")
        for path in filter(Path.is_file, others):
            found[f"{model}/{path.parent.name}/{path.name}"] = file_sha256(path)
        for path in (self.controlnet.folder / "config.json", *self.controlnet.weights):
            found[f"{controlnet}/{path.name}"] = file_sha256(path)
        return found


_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
_WEIGHTS = ("model", "diffusion_pytorch_model")
_NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")


def find_folders(model: str, controlnet: str) -> Folders:
    """The model and the ControlNet, checked for kind and for fitting each other.

    Args:
        model: a folder in the layout of diffusers, or a hub id whose files are in the cache.
        controlnet: as ``model``.

    Raises:
        CheckpointError: not there, of another kind, pickles only, damaged, or not a pair.
    """
    network = _controlnet(folder_of(controlnet, _CONTROLNET, "diffusers"))
    folders = _model(folder_of(model, _MODEL, "diffusers"), network, model, controlnet)
    _check_pair(folders)
    return folders


def _controlnet(folder: Path) -> Network:
    if (folder / "model_index.json").exists():
        raise CheckpointError(
            f"controlnet {folder}",
            expected=f"a {_CONTROLNET} alone",
            got="a whole pipeline",
            fix="give its folder controlnet/, or exchange model and controlnet",
        )
    network = Network.read(folder)
    kind = network.config.get("_class_name")
    if kind != "ControlNetModel":
        raise CheckpointError(
            f"controlnet {folder}",
            expected="a ControlNetModel for Stable Diffusion 1.5, 2.x or XL",
            got=str(kind or "a network of no stated class"),
        )
    return network


def _model(folder: Path, controlnet: Network, name: str, controlnet_name: str) -> Folders:
    if not (folder / "model_index.json").exists() and (folder / "config.json").exists():
        raise CheckpointError(
            f"model {folder}",
            expected=f"a {_MODEL} with model_index.json",
            got="a single network",
            fix="give the folder of the whole pipeline",
        )
    index = read_json(folder / "model_index.json")
    if not {"unet", "vae", "text_encoder"} <= index.keys() or not _present(index, "text_encoder"):
        raise CheckpointError(
            f"model {folder}",
            expected="Stable Diffusion 1.5, 2.x or XL, with a UNet and a text encoder",
            got=str(index.get("_class_name")),
        )
    parts = [part for part in _NETWORKS if _present(index, part)]
    networks = {part: Network.read(folder / part) for part in parts}
    given = networks["unet"].config.get("in_channels")
    expected = networks["vae"].config.get("latent_channels")
    if given != expected:
        raise CheckpointError(
            f"model {folder}",
            expected=f"a UNet that takes {expected} channels, the VAE's latents",
            got=f"{given}, as models for inpainting and the like have",
        )
    return Folders(
        model=folder,
        controlnet=controlnet,
        networks=networks,
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        force_zeros=bool(index.get("force_zeros_for_empty_prompt", True)),
        names=(name, controlnet_name),
    )


def _present(index: Mapping[str, Any], part: str) -> bool:
    """Whether the pipeline has that part; left-out ones are listed as [null, null]."""
    return bool((index.get(part) or [None])[0])


def _check_pair(folders: Folders) -> None:
    unet, controlnet = folders.networks["unet"].config, folders.controlnet.config
    for key in ("cross_attention_dim", "block_out_channels", "in_channels", "addition_embed_type"):
        if unet.get(key) != controlnet.get(key):
            model, name = folders.names
            raise CheckpointError(
                f"controlnet {name} does not fit model {model}",
                expected=f"{key} {unet.get(key)}",
                got=str(controlnet.get(key)),
                fix="use a ControlNet made for this model: those for Stable Diffusion 1.5 "
                "(cross_attention_dim 768), 2.x (1024) and XL (2048) differ",
            )
