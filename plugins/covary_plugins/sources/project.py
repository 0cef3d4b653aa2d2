"""A photo, inverted into a StyleGAN2 generator by optimisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

import covary
from covary_plugins.photos import PhotoParams, PhotoSource

if TYPE_CHECKING:
    from torch import Tensor

    from covary_plugins.photos import PreparedPhoto
    from covary_plugins.stylegan2 import Generator

__all__ = ["Project"]


class Project(PhotoSource):
    """Variants of a photo, for generators that have no encoder.

    Finds the code w_0 in W+ whose image comes closest to the photo: from the best of some random
    codes, by Adam on a loss that needs no trained network, held near the mean code and near one
    code for all layers. Style mixing then goes as in ``stylegan2``. It throws the layers from c
    on away, and with them whatever structure the optimisation put there: raise c, or
    ``to_equal``, where the reconstruction is good and the mask is not.

    Optionally the generator's weights are then fine-tuned around w_0 (pivotal tuning), on a copy.
    """

    class Params(PhotoParams):
        checkpoint: str = Field(
            "avatars-64", description="generator: a file, or a name from the catalogue"
        )
        c: int = Field(5, ge=0, description="cutoff: layers before it keep the structure, 0..l")
        psi: float = Field(
            0.7, ge=0, le=1, description="truncation of the styles towards the mean latent"
        )
        n: int = Field(50, ge=1, description="number of variants")
        steps: int = Field(200, ge=1, description="most steps of the optimisation")
        learning_rate: float = Field(
            0.2, gt=0, description="at its height, in standard deviations of w"
        )
        starts: int = Field(
            200, ge=0, description="random codes of which the best is the start, beside the mean"
        )
        to_mean: float = Field(
            0.003, ge=0, description="weight of the squared distance to the mean code"
        )
        to_equal: float = Field(
            0.003, ge=0, description="weight of the squared differences between the layers' codes"
        )
        patience: int = Field(
            50, ge=1, description="steps without progress after which the search winds down"
        )
        tuning_steps: int = Field(
            0, ge=0, description="steps of pivotal tuning of the generator's weights; 0 is none"
        )
        tuning_rate: float = Field(1e-3, gt=0, description="learning rate of the tuning")

    params: Params
    determinism = "numeric"

    _generator: Generator | None = None
    _sha256: str = ""

    def size(self) -> tuple[int, int]:
        """(H, W) in pixels; reads the checkpoint."""
        side = self._loaded().resolution
        return side, side

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes of one step of the optimisation, or of one batch of variants."""
        from ._mixing import batch_bytes
        from ._projection import training_bytes

        generator, params = self._loaded(), self.params
        search = training_bytes(generator, params.tuning_steps > 0)
        return max(batch_bytes(generator, n=params.n), search)

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """Align the photo and project it, which takes most of the time; promise the variants.

        Raises:
            InputError: not exactly one photo, or one that cannot be read or aligned.
            MemoryBudgetError: not even one image fits through the backward pass.
        """
        from covary_plugins.batches import placed
        from covary_plugins.photos import error_warning, reconstruction_error

        from ._mixing import check_cutoff, draw_image, draw_styles, mixed_variants

        generator, params = placed(self._loaded(), ctx.device), self.params
        check_cutoff(params.c, generator, params.checkpoint)
        photo = self.prepared(query, self.size(), ctx)
        generator, structure = self._inverted(generator, photo, query.name, ctx)
        reconstruction = draw_image(generator, structure, ctx)
        metrics = reconstruction_error(photo.image, reconstruction)
        poor = error_warning(metrics)
        styles = draw_styles(generator, params.n, params.psi, ctx)
        return covary.Variants(
            image=photo.image,
            count=params.n,
            batches=mixed_variants(generator, structure, styles, params.c, ctx),
            inputs={params.checkpoint: self._sha256, **photo.inputs},
            crop=photo.crop,
            reconstruction=reconstruction,
            metrics=metrics,
            warnings=photo.warnings + ((poor,) if poor else ()),
        )

    def _inverted(
        self, generator: Generator, photo: PreparedPhoto, name: str, ctx: covary.RunContext
    ) -> tuple[Generator, Tensor]:
        """The generator, tuned if asked for, and the photo's code (1, L, W)."""
        from covary_plugins.batches import in_batches

        from ._projection import Schedule, project, tune

        params = self.params
        target = photo.image.float()[None] / 127.5 - 1

        def search(photos: Tensor) -> tuple[Generator, Tensor]:
            schedule = Schedule(params.steps, params.learning_rate, params.patience)
            found = project(
                generator,
                photos,
                schedule,
                ctx,
                starts=params.starts,
                psi=params.psi,
                to_mean=params.to_mean,
                to_equal=params.to_equal,
                progress=lambda done, total: ctx.progress(done, total, f"projecting {name}"),
            )
            if params.tuning_steps == 0:
                return generator, found.ws
            tuned = tune(
                generator,
                found.ws,
                photos,
                Schedule(params.tuning_steps, params.tuning_rate, params.tuning_steps),
                ctx,
                psi=params.psi,
                progress=lambda done, total: ctx.progress(done, total, f"tuning for {name}"),
            )
            return tuned, found.ws

        fix = "use device='cpu' or a smaller generator"
        return next(in_batches(target, search, 1, device=ctx.device, fix=fix))

    def _loaded(self) -> Generator:
        if self._generator is None:
            import torch

            from covary.provenance import file_sha256
            from covary_plugins.stylegan2 import load_generator

            path = covary.checkpoint_path(self.params.checkpoint)
            with torch.inference_mode(False):  # weights that gradients may flow through
                self._generator = load_generator(path)
            self._sha256 = file_sha256(path)
        return self._generator
