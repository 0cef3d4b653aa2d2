"""Classes found by their words, by Grounding DINO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ._zero_shot import ZeroShotDetector, ZeroShotParams

if TYPE_CHECKING:
    from ._grounding_dino import GroundingDinoNetwork

__all__ = ["GroundingDino"]


class GroundingDino(ZeroShotDetector):
    """Boxes of whatever a prompt names, by Grounding DINO or MM-Grounding-DINO.

    Takes folders in the layout of transformers, or ids in the Hugging Face cache, e.g.
    ``IDEA-Research/grounding-dino-tiny`` or
    ``openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det``. Nothing is downloaded, only
    safetensors files are read, and nothing in the folders is run. Always computes in float32.

    A box belongs to the class whose words it answers to best on average; its score is the
    probability of the best of these words.
    """

    class Params(ZeroShotParams):
        model: str = Field(
            "IDEA-Research/grounding-dino-tiny",
            min_length=1,
            description=ZeroShotParams.model_fields["model"].description,
        )
        threshold: float = Field(
            0.3, ge=0, le=1, description="Score below which a box is left out."
        )
        text_threshold: float = Field(
            0.25,
            ge=0,
            le=1,
            description="Mean probability of its class's words below which a box is left out; "
            "matters to classes of several words.",
        )

    params: Params

    def _load(self) -> GroundingDinoNetwork:
        from ._grounding_dino import GroundingDinoNetwork

        return GroundingDinoNetwork(self.params.model, self.params.text_threshold)
