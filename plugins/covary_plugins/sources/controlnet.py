"""Diffusion under a ControlNet: one structure, drawn n times in other words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

import covary

from ._controlnet.words import APPEARANCES

if TYPE_CHECKING:
    import torch

    from ._controlnet.diffusion import Diffusion
    from ._controlnet.folders import Folders
    from ._controlnet.structure import Structure

__all__ = ["APPEARANCES", "ControlNet"]

_WORDS = sum(map(len, APPEARANCES.values()))

Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Offload = Literal["none", "model", "sequential"]


class ControlNet(covary.VariantSource):
    """Variants of a photo that Stable Diffusion draws under a ControlNet, by n prompts.

    The query is a photo. X_0 is the photo itself at the working size, and its structure is held by
    a control map: edges found in it, or a map of yours. With a map of yours the query may also be
    a seed: X_0 is then drawn from the map, by the words of ``subject`` and the query's seed.

    Takes Stable Diffusion 1.5, 2.x and XL with a ControlNet made for them, as folders in the
    layout of diffusers or as ids in the Hugging Face cache. Weights are read from safetensors
    files only, and nothing in the folders is run. Prompts are encoded once; the variants share
    their initial noise unless ``latents`` says otherwise. Results do not depend on ``batch``
    beyond rounding. No safety checker and no watermark are applied.

    The structure is soft: outlines wander by a few pixels from variant to variant.
    """

    accepts = frozenset({"files", "seed"})

    class Params(covary.Params):
        model: str = Field(
            min_length=1, description="Stable Diffusion 1.5, 2.x or XL: a folder, or a hub id"
        )
        controlnet: str = Field(
            min_length=1, description="a ControlNet made for that model: a folder, or a hub id"
        )
        control: str = Field(
            default="canny",
            min_length=1,
            description="'canny' finds edges in the photo; else an image file with the map that "
            "the ControlNet wants (depth, segmentation, line art, ...), or a folder of maps named "
            "as the photos are",
        )
        canny_low: float = Field(
            default=100, gt=0, description="edges go on above this; Sobel gradient in grey levels"
        )
        canny_high: float = Field(
            default=200, gt=0, description="edges start above this; lower it for soft photos"
        )
        canny_sigma: float = Field(
            default=0, ge=0, le=20, description="Gaussian blur before canny, pixels; 0 is none"
        )
        subject: str = Field(
            default="", description="what the image shows, e.g. 'a cat'; built-in words follow it"
        )
        prompts: tuple[str, ...] | None = Field(
            default=None,
            min_length=1,
            description="prompts of your own to draw from, at least n; unset: built-in words for "
            "materials, colours, light, weather and styles after the subject",
        )
        negative_prompt: str | None = Field(
            default=None, description="what the variants should not look like"
        )
        n: int = Field(default=50, ge=1, description="number of variants")
        steps: int = Field(default=20, ge=1, le=1000, description="denoising steps")
        guidance: float = Field(
            default=7.5, ge=0, description="weight of the prompt; 1 and less ignore negative_prompt"
        )
        conditioning_scale: float = Field(
            default=1.0, ge=0, description="weight of the control map"
        )
        control_start: float = Field(
            default=0.0, ge=0, lt=1, description="share of the steps before the map acts"
        )
        control_end: float = Field(
            default=1.0, gt=0, le=1, description="share of the steps after which it acts no more"
        )
        latents: Literal["shared", "distinct"] = Field(
            default="shared",
            description="one initial noise for all variants, which holds the structure, or one "
            "for each, which varies appearance more",
        )
        strength: float | None = Field(
            default=None,
            gt=0,
            le=1,
            description="start from X_0 with this much noise instead of noise alone; lower keeps "
            "more of X_0. 0.6 to 0.8 is usual",
        )
        size: int | None = Field(
            default=None,
            ge=8,
            multiple_of=8,
            description="shorter side of X_0 and its variants, pixels; unset: the model's own",
        )
        scheduler: Literal["ddim", "euler", "unipc"] | None = Field(
            default=None, description="sampler; unset: the model's own"
        )
        batch: int | None = Field(
            default=None,
            ge=1,
            description="variants drawn at once; unset: as many as fit, at most 8, on CUDA and 1 "
            "elsewhere. Halved where memory runs out",
        )
        dtype: Dtype = Field(
            default="auto", description="precision; auto is float16 on CUDA, else float32"
        )
        offload: Offload = Field(
            default="none",
            description="keep weights in main memory until needed, whole networks ('model') or "
            "layer by layer ('sequential', slow); CUDA only",
        )
        vae_tiling: bool = Field(
            default=False, description="decode in tiles: less memory at large sizes, faint seams"
        )

        @model_validator(mode="after")
        def _fit_each_other(self) -> ControlNet.Params:
            if not (self.subject.strip() or self.prompts):
                raise ValueError("a subject, e.g. 'a cat', or a list of prompts")
            if self.prompts is None and self.n > _WORDS:
                raise ValueError(f"n of at most {_WORDS}, the built-in words, or prompts of yours")
            if self.prompts is not None and len(self.prompts) < self.n:
                raise ValueError(f"at least n = {self.n} prompts, not {len(self.prompts)}")
            if self.canny_low > self.canny_high:
                raise ValueError("canny_low of at most canny_high")
            if self.control_start >= self.control_end:
                raise ValueError("control_start before control_end")
            if self.strength is not None and int(self.steps * self.strength) < 1:
                raise ValueError("steps * strength of at least 1; use more of either")
            return self

    params: Params
    determinism = "numeric"

    _folders: Folders | None = None
    _diffusion: Diffusion | None = None

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes of one batch, a rough estimate, with the weights unless they are loaded."""
        from ._controlnet import memory

        folders, loaded = self._found(), self._diffusion
        itemsize = loaded.itemsize if loaded else memory.expected_itemsize(self.params.dtype)
        working = memory.working_bytes(folders, size, itemsize, self.params.guidance)
        weights = 0 if loaded else memory.weight_bytes(folders, itemsize, self.params.offload)
        # The automatic batch never takes more than it finds.
        return weights + working.of_batch(self.params.batch or 1)

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """Load the model, find the structure, encode the prompts, and promise the variants.

        Raises:
            InputError: a photo or map that cannot be read, is smaller than 8 pixels, or does not
                fit the other; a seed without a map; an ``offload`` or ``dtype`` that the device
                does not have.
            CheckpointError: the model or the ControlNet is missing, damaged, of another kind, or
                made for another model.
            MemoryBudgetError: the weights do not fit on the device.
        """
        from ._controlnet.diffusion import draw_seeds
        from ._controlnet.prompts import choose_prompts

        params, folders = self.params, self._found()
        structure = self._structure(query, folders)
        ctx.progress(0, params.n, "loading the model")
        diffusion = self._loaded(folders, ctx.device)
        prompts = choose_prompts(params.subject, params.prompts, params.n, ctx.generator())
        image = structure.image
        if image is None:
            first = params.subject.strip() or prompts[0]
            image = diffusion.draw_one(first, query.seed or 0, structure.control)
        seeds = draw_seeds(params.latents, params.n, ctx.derived_seed(), query.seed)
        batches = diffusion.draw(prompts, seeds, image, structure.control, ctx)
        return covary.Variants(
            image=image.to(ctx.device),
            count=params.n,
            batches=batches,
            inputs={**structure.inputs, **folders.inputs},
            crop=structure.crop,
            warnings=(*structure.warnings, *diffusion.too_long(prompts)),
        )

    def _structure(self, query: covary.Query, folders: Folders) -> Structure:
        from ._controlnet import structure

        params = self.params
        side = params.size or folders.native_side
        map_path = None if params.control == "canny" else Path(params.control).expanduser()
        if query.paths:
            canny = (params.canny_low, params.canny_high, params.canny_sigma)
            return structure.of_photo(query.paths, side, map_path, canny)
        if map_path is None:
            raise covary.InputError(
                f"seed {query.seed} of source controlnet",
                expected="a photo, or a map in the parameter control",
                got="neither",
                fix="give a photo, or set control to an image file with the map to draw from",
            )
        return structure.of_map(map_path, side)

    def _found(self) -> Folders:
        if self._folders is None:
            from ._controlnet.folders import find_folders

            params = self.params
            self._folders = find_folders(params.model, params.controlnet)
        return self._folders

    def _loaded(self, folders: Folders, device: torch.device) -> Diffusion:
        if self._diffusion is None or self._diffusion.device != device:
            from ._controlnet.diffusion import Diffusion

            self._diffusion = Diffusion(folders, device, self.params)
        return self._diffusion
