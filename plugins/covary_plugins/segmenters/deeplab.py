"""Labels of Pascal VOC, by DeepLabV3."""

from __future__ import annotations

from types import MappingProxyType

from pydantic import Field

from ._classes import VOC
from ._semantic import SemanticParams, SemanticSegmenter

__all__ = ["DeepLab"]


class DeepLab(SemanticSegmenter):
    """Labels photos by DeepLabV3+ with MobileNetV2, or by DeepLabV3 with MobileViT.

    Chen et al. 2017 and 2018. Takes folders in the layout of transformers, or ids in the Hugging
    Face cache: ``google/deeplabv3_mobilenet_v2_1.0_513``, ``apple/deeplabv3-mobilevit-small``,
    trained on the 21 labels of Pascal VOC. Of these it keeps cat, table (VOC's dining table),
    horse, person and sofa unless ``classes`` says otherwise. Nothing is downloaded, only
    safetensors files are read, and nothing in the folders is run.

    The whole image is looked at: the cut to its middle that these networks' processors make would
    shift every label.
    """

    class Params(SemanticParams):
        checkpoint: str = Field(
            "google/deeplabv3_mobilenet_v2_1.0_513",
            min_length=1,
            description=SemanticParams.model_fields["checkpoint"].description,
        )

    params: Params

    kinds = MappingProxyType(
        {
            "mobilenet_v2": ("MobileNetV2ForSemanticSegmentation", "MobileNetV2ImageProcessorPil"),
            "mobilevit": ("MobileViTForSemanticSegmentation", "MobileViTImageProcessorPil"),
        }
    )
    usual = VOC
