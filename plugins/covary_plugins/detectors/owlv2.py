"""Classes found by their words, by OWLv2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from ._zero_shot import ZeroShotDetector, ZeroShotParams

if TYPE_CHECKING:
    from ._owlv2 import Owlv2Network

__all__ = ["Owlv2"]


class Owlv2(ZeroShotDetector):
    """Boxes of whatever a prompt names, by OWLv2.

    Takes folders in the layout of transformers, or ids in the Hugging Face cache, e.g.
    ``google/owlv2-base-patch16-ensemble``. Nothing is downloaded, only safetensors files are read,
    and nothing in the folders is run.

    Each patch of the image proposes one box, so that objects are found several times over:
    ``nms`` leaves the surest.
    """

    class Params(ZeroShotParams):
        model: str = Field(
            "google/owlv2-base-patch16-ensemble",
            min_length=1,
            description=ZeroShotParams.model_fields["model"].description,
        )
        threshold: float = Field(
            0.1, ge=0, le=1, description="Score below which a box is left out."
        )
        template: str = Field(
            "a photo of a {}", description="Sentence in which a class is looked for, at {}."
        )
        dtype: Literal["float32", "float16", "bfloat16"] = Field(
            "float32", description="Precision; half of either kind is for CUDA."
        )

        @field_validator("template")
        @classmethod
        def _has_a_place(cls, value: str) -> str:
            if value.count("{}") != 1:
                raise ValueError("text with {} once, where the class goes")
            return value

    params: Params

    def _load(self) -> Owlv2Network:
        import torch

        from ._owlv2 import Owlv2Network

        params = self.params
        return Owlv2Network(params.model, getattr(torch, params.dtype), params.template)
