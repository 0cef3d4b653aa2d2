"""The parts of a pipeline from their folders, each by a class chosen here and not by the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from covary import CheckpointError

from .folders import Folders, Network

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
        name: _network(*kinds[name], network, dtype) for name, network in folders.networks.items()
    }
    parts["controlnet"] = _network(diffusers.ControlNetModel, image, folders.controlnet, dtype)
    for name, folder in folders.tokenizers.items():
        read = transformers.CLIPTokenizer.from_pretrained
        parts[name] = _checked(folder, lambda: read(folder, local_files_only=True))  # noqa: B023
    parts["scheduler"] = _scheduler(folders, scheduler)
    return parts


def _network(
    kind: Any, options: dict[str, Any], network: Network, dtype: torch.dtype
) -> torch.nn.Module:
    if network.config.get("quantization_config"):
        raise CheckpointError(
            f"weights in {network.folder}",
            expected="whole numbers of float16 or float32",
            got="quantised ones",
            fix="use the model before quantisation, with dtype='float16' or offload='model'",
        )
    model, report = _checked(
        network.folder,
        lambda: kind.from_pretrained(
            network.folder,
            variant=network.variant,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        ),
    )
    # Without this a missing tensor would be left at random.
    if wrong := sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"]))):
        raise CheckpointError(
            f"weights in {network.folder}",
            expected=f"all tensors of a {kind.__name__}",
            got=f"{len(wrong)} missing or of another shape, e.g. {wrong[0]}",
            fix="fetch the whole folder again",
        )
    module: torch.nn.Module = model if "torch_dtype" in options else model.to(dtype)
    return module.eval()


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
    return _checked(folder, lambda: kind.from_config(dict(folders.scheduler)))


def _is_scheduler(kind: Any) -> bool:
    import diffusers

    return isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)


def _checked(folder: Path, read: Callable[[], Any]) -> Any:
    """What ``read`` gives; whatever it raises becomes one error that names the folder."""
    try:
        return read()
    except MemoryError:
        raise
    # Damaged files make the libraries below raise nearly anything.
    except Exception as error:
        raise CheckpointError(
            f"folder {folder}",
            expected="a part of a Stable Diffusion pipeline as save_pretrained writes it",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            fix="fetch the whole folder again",
        ) from error
