"""Style mixing in a StyleGAN2 generator (paper Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

import covary

if TYPE_CHECKING:
    from covary_plugins.stylegan2 import Generator


class StyleGAN2(covary.VariantSource):
    """Variants of a generated image that share its layers below the cutoff c.

    The structure latent w_0 comes from the query's seed by the published convention,
    ``numpy.random.RandomState(seed).randn``, so seeds mean the images that they mean elsewhere.
    Layers before c keep w_0, layers from c on take a style latent w_i drawn from the run's seed.
    Both are truncated before mixing, and the noise is the stored constant. Layers before c are
    computed once for all variants.
    """

    class Params(covary.Params):
        checkpoint: str = Field(
            default="avatars-64",
            description="generator: a file, or a name from the catalogue",
        )
        c: int = Field(
            default=4, ge=0, description="cutoff: layers before it keep the structure, 0..l"
        )
        psi: float = Field(
            default=0.7, ge=0, le=1, description="truncation towards the mean latent; 1 is none"
        )
        n: int = Field(default=50, ge=1, description="number of variants")
        label: int | None = Field(
            default=None, ge=0, description="class to draw, for generators trained with classes"
        )
        max_resolution: int | None = Field(
            default=None,
            description="stop at this resolution, pixels, and segment there; None is the full size",
        )
        precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
            default="auto",
            description="number format of the variants' high resolutions; auto is the fastest "
            "that the device and the network bear. X_0 is always computed in float32",
        )
        compile: bool = Field(
            default=False,
            description="fuse elementwise arithmetic with torch.compile, which takes a minute at "
            "first; CUDA only",
        )

    params: Params
    determinism = "numeric"

    _generator: Generator | None = None
    _sha256: str = ""

    def size(self) -> tuple[int, int]:
        """(H, W) in pixels; reads the checkpoint."""
        side = self._loaded().synthesis.check_max_resolution(self.params.max_resolution)
        return side, side

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes of one batch of images on its way through the synthesis network."""
        return self.memory_many(size, features, 1)

    def memory_many(self, size: tuple[int, int], features: int, queries: int) -> int:
        """Peak bytes of one batch that queries share, and of what they keep meanwhile."""
        from ._mixing import batch_bytes

        params = self.params
        return batch_bytes(
            self._loaded(),
            n=params.n,
            queries=queries,
            max_resolution=params.max_resolution,
            precision=params.precision,
        )

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """Map the latents, compute X_0, and promise the variants."""
        return self.open_many([query], [ctx])[0]

    def open_many(
        self, queries: Sequence[covary.Query], contexts: Sequence[covary.RunContext]
    ) -> list[covary.Variants]:
        """As ``open`` of each; their images and variants go through the network together."""
        import torch

        from covary_plugins.batches import placed

        from ._mixing import (
            check_cutoff,
            check_label,
            draw_images,
            draw_styles,
            mixed_together,
            published_latent,
        )

        seeds = [query.seed for query in queries if query.seed is not None]
        if len(seeds) < len(queries):
            raise covary.InputError("query of source stylegan2", expected="a seed", got="files")
        params, ctx = self.params, contexts[0]
        generator = placed(self._loaded(), ctx.device)
        check_cutoff(params.c, generator, params.checkpoint)
        check_label(params.label, generator, params.checkpoint)
        limit = params.max_resolution
        with torch.inference_mode():
            z = torch.cat([published_latent(seed, generator.z_dim) for seed in seeds])
            structures = generator.mapping(z.to(ctx.device), psi=params.psi, label=params.label)
        images = draw_images(generator, structures, ctx, limit)
        styles = [
            draw_styles(generator, params.n, params.psi, each, params.label) for each in contexts
        ]
        together = mixed_together(
            generator,
            structures,
            torch.cat(styles),
            params.c,
            ctx,
            max_resolution=limit,
            precision=params.precision,
            compiled=params.compile,
        )
        inputs = {params.checkpoint: self._sha256}
        return [
            covary.Variants(image=image, count=params.n, batches=batches, inputs=inputs)
            for image, batches in zip(images, together, strict=True)
        ]

    def _loaded(self) -> Generator:
        if self._generator is None:
            from covary.provenance import file_sha256
            from covary_plugins.stylegan2 import load_generator

            path = covary.checkpoint_path(self.params.checkpoint)
            self._generator = load_generator(path)
            self._sha256 = file_sha256(path)
        return self._generator
