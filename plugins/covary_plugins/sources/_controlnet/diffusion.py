"""Drawing variants with diffusers: the pipelines of Stable Diffusion under one ControlNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import covary
from covary_plugins.batches import in_batches

from .folders import Folders
from .memory import working_bytes
from .networks import load_parts
from .quiet import quiet

if TYPE_CHECKING:
    from ..controlnet import ControlNet

__all__ = ["Diffusion", "draw_seeds"]

_MOST_AT_ONCE = {"cuda": 8}
_FIX = "lower size, set offload='model' or vae_tiling=true, or use device='cpu'"


def draw_seeds(latents: str, n: int, run_seed: int, query_seed: int | None) -> list[int]:
    """Seeds of the variants' noise: n different ones, or n times that of X_0.

    A photo has no noise of its own, so shared noise is then the run's.
    """
    if latents == "distinct":
        return [run_seed + 1 + index for index in range(n)]
    return [run_seed if query_seed is None else query_seed] * n


class Diffusion:
    """A Stable Diffusion model under a ControlNet, loaded.

    Raises:
        InputError: a precision or a way of offloading that the device does not have.
        CheckpointError: weights that do not fit their configuration.
    """

    def __init__(self, folders: Folders, device: torch.device, params: ControlNet.Params) -> None:
        self.device = device
        self._folders = folders
        self._params = params
        self._dtype = _precision(params.dtype, device)
        _check_offload(params.offload, device)
        with quiet():
            self._parts = load_parts(folders, self._dtype, params.scheduler)

    @property
    def itemsize(self) -> int:
        """Bytes to a number."""
        return int(self._dtype.itemsize)

    def too_long(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """A warning where the text encoder reads only the beginning of some prompts."""
        tokenizer = self._parts["tokenizer"]
        most = tokenizer.model_max_length
        with quiet():
            long = [text for text in prompts if len(tokenizer(text).input_ids) > most]
        if not long:
            return ()
        return (
            f"{len(long)} of the prompts are longer than the {most} tokens that the model reads, "
            f"e.g. {long[0][:60]!r}; shorten them",
        )

    def draw_one(self, prompt: str, seed: int, control: Tensor) -> Tensor:
        """An image uint8 (3, H, W) of ``prompt`` under ``control`` uint8 (3, H, W).

        Raises:
            MemoryBudgetError: the weights or the image do not fit on the device.
        """
        with quiet():
            pipe = self._pipeline(from_image=False)
            texts = self._encode(pipe, [prompt])

        def run(_: Any) -> Tensor:
            return self._run(pipe, texts, [seed], None, control, lambda *_: {})

        (images,) = in_batches(range(1), run, 1, device=self.device, fix=_FIX)
        return images[0]

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        image: Tensor,
        control: Tensor,
        ctx: covary.RunContext,
    ) -> Iterator[covary.VariantBatch]:
        """Variants, one for each prompt, in batches on the device; prompts are encoded at once.

        Args:
            prompts: n texts.
            seeds: n seeds of their noise; equal ones give equal noise.
            image: X_0, uint8 (3, H, W); used only where there is a ``strength``.
            control: the control map, uint8 (3, H, W).
            ctx: progress and memory budget.

        Raises:
            MemoryBudgetError: the weights do not fit, or, while iterating, not even one variant.
            InputError: while iterating, where the precision does not suffice.
        """
        start = None if self._params.strength is None else image
        with quiet():
            pipe = self._pipeline(from_image=start is not None)
            texts = self._encode(pipe, prompts)

        def run(some: Any) -> Tensor:
            def report(*_: Any) -> dict[str, Any]:
                # After each step, so that a caller's progress can raise to stop there.
                ctx.progress(some.start, len(prompts), "diffusing")
                return {}

            chosen = slice(some.start, some.stop)
            part = {name: values[chosen] for name, values in texts.items()}
            return self._run(pipe, part, seeds[chosen], start, control, report)

        size = self._batch_size((int(control.shape[1]), int(control.shape[2])), ctx)
        return _reported(
            in_batches(range(len(prompts)), run, size, device=self.device, fix=_FIX),
            len(prompts),
            ctx,
        )

    def _pipeline(self, from_image: bool) -> Any:
        """A pipeline of the loaded parts, placed on the device; made anew at little cost."""
        import diffusers

        xl = self._folders.is_xl
        name = f"StableDiffusion{'XL' if xl else ''}ControlNet{'Img2Img' if from_image else ''}"
        extra = (
            {"add_watermarker": False, "force_zeros_for_empty_prompt": self._folders.force_zeros}
            if xl
            else {"safety_checker": None, "requires_safety_checker": False}
        )
        pipe = getattr(diffusers, f"{name}Pipeline")(
            **self._parts, **extra, feature_extractor=None, image_encoder=None
        )
        pipe.set_progress_bar_config(disable=True)
        # One image at a time: hardly slower, and the decoder is what takes the most memory.
        pipe.vae.enable_slicing()
        if self._params.vae_tiling:
            pipe.vae.enable_tiling()
        self._place(pipe)
        return pipe

    def _place(self, pipe: Any) -> None:
        try:
            if self._params.offload == "model":
                pipe.enable_model_cpu_offload(device=self.device)
            elif self._params.offload == "sequential":
                pipe.enable_sequential_cpu_offload(device=self.device)
            else:
                pipe.to(self.device)
        except torch.cuda.OutOfMemoryError as error:
            raise covary.MemoryBudgetError(
                f"the weights of {self._params.model} do not fit on device {self.device}",
                got=str(error).split(". ")[0],
                fix="set offload='model', or use device='cpu'",
            ) from None

    def _encode(self, pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The pipeline's text arguments, all of them (n, ...); the negative prompt once."""
        params, names = self._params, ["prompt_embeds", "negative_prompt_embeds"]
        if self._folders.is_xl:
            names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
        device = {"device": self.device, "num_images_per_prompt": 1}
        with torch.no_grad():
            wanted = pipe.encode_prompt(list(prompts), **device, do_classifier_free_guidance=False)
            texts = dict(zip(names, wanted, strict=True))
            if params.guidance > 1:
                negative = None if params.negative_prompt is None else [params.negative_prompt]
                unwanted = pipe.encode_prompt(
                    [""], **device, do_classifier_free_guidance=True, negative_prompt=negative
                )
                for name, values in zip(names, unwanted, strict=True):
                    if name.startswith("negative"):
                        texts[name] = values.expand(len(prompts), *values.shape[1:])
        return {name: values for name, values in texts.items() if values is not None}

    def _run(
        self,
        pipe: Any,
        texts: dict[str, Tensor],
        seeds: Sequence[int],
        start: Tensor | None,
        control: Tensor,
        report: Callable[..., dict[str, Any]],
    ) -> Tensor:
        """Images uint8 (B, 3, H, W) on the device; repeatable, since it seeds its own noise."""
        params = self._params
        maps: dict[str, Any] = {"image": _in_unit_range(control)}
        if start is not None:
            photos = _in_unit_range(start).expand(len(seeds), -1, -1, -1)
            maps = {
                "image": photos, "control_image": maps["image"], "strength": params.strength
            }  # fmt: skip
        with quiet():
            images: Tensor = pipe(
                **maps,
                **texts,
                # On the CPU, for the same noise on every device; never one object twice, or its
                # second use would go on where the first one ended.
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                num_inference_steps=params.steps,
                guidance_scale=params.guidance,
                controlnet_conditioning_scale=params.conditioning_scale,
                control_guidance_start=params.control_start,
                control_guidance_end=params.control_end,
                output_type="pt",
                callback_on_step_end=report,
            ).images
        if not bool(images.isfinite().all()):
            raise covary.InputError(
                f"variants drawn in {str(self._dtype).removeprefix('torch.')}",
                expected="finite pixels",
                got="NaN, an overflow",
                fix="set dtype='bfloat16' or dtype='float32'",
            )
        return (images.to(self.device).float() * 255).round().clamp(0, 255).to(torch.uint8)

    def _batch_size(self, size: tuple[int, int], ctx: covary.RunContext) -> int:
        if self._params.batch is not None:
            return self._params.batch
        need = working_bytes(self._folders, size, self.itemsize, self._params.guidance)
        most = _MOST_AT_ONCE.get(self.device.type, 1)
        return max(1, min(most, ctx.available_memory() // need.denoising))


def _reported(
    images: Iterator[Tensor], n: int, ctx: covary.RunContext
) -> Iterator[covary.VariantBatch]:
    done = 0
    for some in images:
        done += len(some)
        ctx.progress(done, n, "diffusing")
        yield covary.VariantBatch(some)


def _in_unit_range(image: Tensor) -> Tensor:
    """float32 (1, 3, H, W) in 0..1 of uint8 (3, H, W)."""
    return image[None].float() / 255


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "float16" and device.type == "cpu":
        raise covary.InputError(
            "parameter 'dtype' of ControlNet",
            expected="float32 or bfloat16 on the CPU",
            got="float16",
            fix="use dtype='auto'",
        )
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _check_offload(offload: str, device: torch.device) -> None:
    if offload == "none":
        return
    if device.type != "cuda":
        raise covary.InputError(
            "parameter 'offload' of ControlNet",
            expected="'none' where the device is not CUDA",
            got=f"{offload!r} with device {device}",
            fix="use offload='none'",
        )
    if find_spec("accelerate") is None:
        raise covary.MissingPackageError(
            "offload needs accelerate", fix="run: pip install accelerate"
        )
