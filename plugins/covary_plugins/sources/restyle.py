"""Style mixing from a photo, inverted by a ReStyle encoder (paper Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

import covary
from covary_plugins.photos import PhotoParams, PhotoSource

if TYPE_CHECKING:
    from covary_plugins.restyle import Inverter

__all__ = ["ReStyle"]


class ReStyle(PhotoSource):
    """Variants of a photo: its code, found by a ReStyle encoder, with other appearances.

    X_0 is the photo, cut and scaled to the generator's image. The encoder finds the code whose
    image is most like it in a few steps. Layers before c keep that code, layers from c on take a
    style latent w_i drawn from the run's seed, truncated. The variants have the structure of the
    reconstruction, not of the photo, so a mask is as good as the two agree: the result reports
    their mean squared error and shows the reconstruction.

    Checkpoints whose ``dataset_type`` is of cars use the rows of the generator's image that hold
    the picture, three quarters of them.
    """

    class Params(PhotoParams):
        checkpoint: str = Field(
            default="avatars-encoder",
            description="ReStyle checkpoint (pSp or e4e): a .pt or safetensors file, or a name "
            "from the catalogue",
        )
        decoder: str | None = Field(
            default=None,
            description="generator file or name from the catalogue, instead of the one in the "
            "checkpoint",
        )
        n_iters: int | None = Field(
            default=None,
            ge=1,
            description="steps of the refinement; None is what the checkpoint was trained for, "
            "5 in ReStyle's own",
        )
        c: int = Field(
            default=4, ge=0, description="cutoff: layers before it keep the structure, 0..l"
        )
        psi: float = Field(
            default=0.7,
            ge=0,
            le=1,
            description="truncation of the appearances towards the mean latent; 1 is none",
        )
        n: int = Field(default=50, ge=1, description="number of variants")

    params: Params
    determinism = "numeric"

    _inverter: Inverter | None = None
    _inputs: dict[str, str]

    def size(self) -> tuple[int, int]:
        """(H, W) in pixels; reads the checkpoint."""
        return self._loaded().image_size

    def memory(self, size: tuple[int, int], features: int) -> int:
        """Peak bytes of the inversion or of one batch of variants, whichever needs more.

        The weights are not counted; they are in memory once a query is open.
        """
        from ._mixing import batch_bytes

        inverter = self._loaded()
        height, width = inverter.image_size
        images = (self.params.n_iters or inverter.n_iters) * 3 * height * width * 4
        return max(batch_bytes(inverter.decoder, n=self.params.n), inverter.working_bytes + images)

    def open(self, query: covary.Query, ctx: covary.RunContext) -> covary.Variants:
        """Align the photo, invert it, and promise the variants."""
        from covary_plugins.batches import placed
        from covary_plugins.photos import error_warning, reconstruction_error

        from ._mixing import check_cutoff, draw_styles, mixed_variants

        params = self.params
        inverter = placed(self._loaded(), ctx.device)
        check_cutoff(params.c, inverter.decoder, params.decoder or params.checkpoint)
        photo = self.prepared(query, inverter.image_size, ctx)
        inversion = inverter.invert(photo.image[None], params.n_iters, ctx.progress)
        reconstruction = inversion.pictures()[0]
        metrics = reconstruction_error(photo.image, reconstruction)
        bad = error_warning(metrics)
        styles = draw_styles(inverter.decoder, params.n, params.psi, ctx)
        mixed = mixed_variants(inverter.decoder, inversion.codes[-1], styles, params.c, ctx)
        return covary.Variants(
            image=photo.image,
            count=params.n,
            batches=_picture_rows(inverter, mixed),
            inputs={**self._inputs, **photo.inputs},
            crop=photo.crop,
            reconstruction=reconstruction,
            metrics=metrics,
            warnings=(*photo.warnings, *([bad] if bad else ())),
        )

    def _loaded(self) -> Inverter:
        if self._inverter is None:
            from covary.provenance import file_sha256
            from covary_plugins.restyle import load_inverter, read_parts
            from covary_plugins.stylegan2 import load_generator

            path = covary.checkpoint_path(self.params.checkpoint)
            name = self.params.decoder or read_parts(path).decoder_name
            files = {self.params.checkpoint: path}
            decoder = None
            if name is not None:
                files[name] = covary.checkpoint_path(name)
                decoder = load_generator(files[name])
            self._inverter = load_inverter(path, decoder=decoder)
            self._inputs = {given: file_sha256(file) for given, file in files.items()}
        return self._inverter


def _picture_rows(
    inverter: Inverter, batches: Iterator[covary.VariantBatch]
) -> Iterator[covary.VariantBatch]:
    for batch in batches:
        yield covary.VariantBatch(inverter.picture_rows(batch.images).contiguous())
