"""The parts of a pipeline from their folders, each by a class chosen here and not by the folder."""

from __future__ import annotations

from typing import Any

import torch

from covary import CheckpointError

from ...hub.networks import load_network, load_saved, reading
from .folders import Folders

__all__ = ["load_parts"]

_SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}


def load_parts(folders: Folders, dtype: torch.dtype, scheduler: str | None) -> dict[str, Any]:
    """The pipeline's parts by its own names, on the CPU, in evaluation mode.

    Args:
        folders: where they are.
        dtype: precision of the networks.
        scheduler: ``ddim``, ``euler`` or ``unipc``; None takes the model's own.

    Raises:
        CheckpointError: weights that are damaged, incomplete or do not fit their configuration.
    """
    import diffusers
    import transformers

    # An attention of the configuration's choosing could be code from elsewhere.
    text = {"attn_implementation": "eager"}
    image = {"torch_dtype": dtype}  # transformers has changed the name of this one
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "unet": (diffusers.UNet2DConditionModel, image),
        "vae": (diffusers.AutoencoderKL, image),
        "text_encoder": (transformers.CLIPTextModel, text),
        "text_encoder_2": (transformers.CLIPTextModelWithProjection, text),
    }
    parts = {
        name: load_network(*kinds[name], network, dtype)
        for name, network in folders.networks.items()
    }
    parts["controlnet"] = load_network(diffusers.ControlNetModel, image, folders.controlnet, dtype)
    for name, folder in folders.tokenizers.items():
        parts[name] = load_saved(transformers.CLIPTokenizer, folder)
    parts["scheduler"] = _scheduler(folders, scheduler)
    return parts


def _scheduler(folders: Folders, name: str | None) -> Any:
    import diffusers

    asked = _SCHEDULERS[name] if name else str(folders.scheduler.get("_class_name"))
    kind: Any = getattr(diffusers, asked, None) if asked.endswith("Scheduler") else None
    if not _is_scheduler(kind):
        raise CheckpointError(
            f"scheduler of model {folders.model}",
            expected="the name of one of the schedulers of diffusers",
            got=repr(asked),
            fix="set scheduler='unipc'",
        )
    folder = folders.model / "scheduler"
    return reading(folder, "scheduler", lambda: kind.from_config(dict(folders.scheduler)))


def _is_scheduler(kind: Any) -> bool:
    import diffusers

    return isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)
