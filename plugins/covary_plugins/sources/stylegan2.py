"""Style mixing in a StyleGAN2 generator (paper Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

import covary

if TYPE_CHECKING:
    import torch

    from covary_plugins.stylegan2 import Generator

# Activations that one batch may keep in flight; more brings no speed on a CPU.
_BATCH_BYTES = 256 * 2**20


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
            description="safetensors file with NVIDIA or rosinality parameter names, or a name "
            "from the catalogue",
        )
        c: int = Field(
            default=4, ge=0, description="cutoff: layers before it keep the structure, 0..l"
        )
        psi: float = Field(
            default=0.7, ge=0, le=1, description="truncation towards the mean latent; 1 is none"
        )
        n: int = Field(default=50, ge=1, description="number of variants")

    params: Params
    determinism = "numeric"

    _generator: Generator | None = None
    _sha256: str = ""

    def size(self) -> tuple[int, int]:
        """(H, W) in pixels; reads the checkpoint."""
        side = self._loaded().resolution
        return side, side

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes of one batch of images on its way through the synthesis network."""
        return max(_BATCH_BYTES, _bytes_per_image(self._loaded()))

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """Map the latents, compute the shared layers, and promise the variants."""
        import torch

        from covary_plugins.stylegan2 import to_uint8

        if query.seed is None:
            raise covary.InputError("query of source stylegan2", expected="a seed", got="files")
        generator = self._loaded().to(ctx.device)
        self._check_cutoff(generator.num_ws)
        psi = self.params.psi
        with torch.inference_mode():
            z = _published_latent(query.seed, generator.z_dim).to(ctx.device)
            structure = generator.mapping(z, psi=psi)
            draws = torch.randn(self.params.n, generator.z_dim, generator=ctx.generator())
            styles = generator.mapping(draws.to(ctx.device), psi=psi)
            codes = generator.style_mix(structure, styles, self.params.c)
            image = to_uint8(generator.synthesis(structure))[0]
        return covary.Variants(
            image=image,
            count=self.params.n,
            batches=_synthesise(generator, structure, codes, self.params.c),
            inputs={self.params.checkpoint: self._sha256},
        )

    def _check_cutoff(self, layers: int) -> None:
        # Only the checkpoint knows l, so Params cannot check this.
        if self.params.c > layers:
            raise covary.ParamsError(
                "parameter 'c' of StyleGAN2",
                expected=f"a cutoff in 0..{layers}, the layers of {self.params.checkpoint}",
                got=str(self.params.c),
                fix="lower c; the middle of the range is a good start",
            )

    def _loaded(self) -> Generator:
        if self._generator is None:
            from covary.provenance import file_sha256
            from covary_plugins.stylegan2 import load_generator

            path = covary.checkpoint_path(self.params.checkpoint)
            self._generator = load_generator(path)
            self._sha256 = file_sha256(path)
        return self._generator


def _synthesise(
    generator: Generator, structure: torch.Tensor, codes: torch.Tensor, c: int
) -> Iterator[covary.VariantBatch]:
    import torch

    from covary_plugins.stylegan2 import to_uint8

    with torch.inference_mode():
        prefix = generator.prefix(structure, c)
    for some in codes.split(max(1, _BATCH_BYTES // _bytes_per_image(generator))):
        with torch.inference_mode():
            images = to_uint8(generator.synthesis(some, prefix=prefix))
        yield covary.VariantBatch(images)


def _bytes_per_image(generator: Generator) -> int:
    """Activations of the widest layer with its input, output and two temporaries, in float32."""
    widths = generator.architecture.channels
    return int(16 * max(width * 4**log2 for log2, width in enumerate(widths, start=2)))


def _published_latent(seed: int, z_dim: int) -> torch.Tensor:
    import numpy as np
    import torch

    # float64 first, then rounded: the convention of the published scripts.
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim)).to(torch.float32)
