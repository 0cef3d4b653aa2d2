"""Networks from their folders, each by a class chosen by the caller and not by the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from covary import CheckpointError

from .folders import Network

__all__ = ["load_network", "load_saved", "reading"]


def load_network(
    kind: Any, options: Mapping[str, Any], network: Network, dtype: torch.dtype
) -> torch.nn.Module:
    """A network on the CPU, in evaluation mode.

    Args:
        kind: its class, of diffusers or transformers.
        options: further arguments of ``kind.from_pretrained``.
        network: where it is.
        dtype: precision of its weights.

    Raises:
        CheckpointError: weights that are damaged, quantised, incomplete or do not fit their
            configuration.
    """
    if network.config.get("quantization_config"):
        raise CheckpointError(
            f"weights in {network.folder}",
            expected="whole numbers of float16 or float32",
            got="quantised ones",
            fix="use the model as it was before quantisation",
        )
    model, report = reading(
        network.folder,
        kind.__name__,
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


def load_saved(kind: Any, folder: Path) -> Any:
    """A tokenizer or image processor of a class, from its folder.

    Raises:
        CheckpointError: missing or damaged files.
    """
    return reading(
        folder, kind.__name__, lambda: kind.from_pretrained(folder, local_files_only=True)
    )


def reading(folder: Path, what: str, read: Callable[[], Any]) -> Any:
    """What ``read`` gives; whatever it raises becomes one error that names the folder."""
    try:
        return read()
    except MemoryError:
        raise
    # Damaged files make the libraries below raise nearly anything.
    except Exception as error:
        raise CheckpointError(
            f"folder {folder}",
            expected=f"a {what} as save_pretrained writes it",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            fix="fetch the whole folder again",
        ) from error
