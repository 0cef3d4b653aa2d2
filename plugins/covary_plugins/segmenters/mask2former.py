"""Labels of ADE20K, by Mask2Former."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field

from ._classes import ADE20K
from ._semantic import SemanticParams, SemanticSegmenter

__all__ = ["Mask2Former"]


class Mask2Former(SemanticSegmenter):
    """Labels photos by Mask2Former (Cheng et al. 2022), as semantic segmentation.

    Takes folders in the layout of transformers, or ids in the Hugging Face cache, e.g.
    ``facebook/mask2former-swin-large-ade-semantic``, trained on the 150 labels of ADE20K. Of these
    it keeps person, table, sofa and coffee table unless ``classes`` says otherwise. Nothing is
    downloaded, only safetensors files are read, and nothing in the folders is run.
    """

    class Params(SemanticParams):
        checkpoint: str = Field(
            "facebook/mask2former-swin-large-ade-semantic",
            min_length=1,
            description=SemanticParams.model_fields["checkpoint"].description,
        )

    params: Params

    kinds = MappingProxyType(
        {"mask2former": ("Mask2FormerForUniversalSegmentation", "Mask2FormerImageProcessorPil")}
    )
    usual = ADE20K
