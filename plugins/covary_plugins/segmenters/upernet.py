"""Labels of ADE20K, by UperNet."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field

from ._classes import ADE20K
from ._semantic import SemanticParams, SemanticSegmenter

__all__ = ["UperNet"]


class UperNet(SemanticSegmenter):
    """Labels photos by UperNet (Xiao et al. 2018), with a Swin or another backbone.

    Takes folders in the layout of transformers, or ids in the Hugging Face cache:
    ``openmmlab/upernet-swin-small``, ``-base``, ``-large``, trained on the 150 labels of ADE20K.
    Of these it keeps person, table, sofa and coffee table unless ``classes`` says otherwise.
    Nothing is downloaded, only safetensors files are read, and nothing in the folders is run.
    """

    class Params(SemanticParams):
        checkpoint: str = Field(
            "openmmlab/upernet-swin-small",
            min_length=1,
            description=SemanticParams.model_fields["checkpoint"].description,
        )

    params: Params

    kinds = MappingProxyType(
        {"upernet": ("UperNetForSemanticSegmentation", "SegformerImageProcessorPil")}
    )
    usual = ADE20K
