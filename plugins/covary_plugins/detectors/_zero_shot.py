"""What the detectors that find classes by their words have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

import covary

from ._prompts import Prompt
from ._selection import Selection

if TYPE_CHECKING:
    import torch

    from covary import Detection, RunContext

    from ._networks import ZeroShotNetwork

__all__ = ["ZeroShotDetector", "ZeroShotParams"]


class _Words(covary.Params):
    model: str = Field(min_length=1, description="The network: a folder, or a hub id.")
    prompt: str = Field(
        min_length=1,
        description="Classes to find, separated by commas. A last piece that starts with a "
        "preposition is said of all of them: 'sofa, coffee table, rug, in a livingroom'.",
    )

    @field_validator("prompt")
    @classmethod
    def _names_classes(cls, value: str) -> str:
        Prompt.parse(value)
        return value


# In this order of bases the words are listed first.
class ZeroShotParams(Selection, _Words):
    """Parameters of every detector that finds classes by their words."""

    nms: float = Field(0.5, ge=0, le=1, description=Selection.model_fields["nms"].description)


class ZeroShotDetector(covary.Detector):
    """A network that finds the classes of a prompt; loaded when it is first asked."""

    determinism = "numeric"

    _network: ZeroShotNetwork | None = None

    def inputs(self) -> Mapping[str, str]:
        """Every file of the network, once it is loaded."""
        return self._network.inputs if self._network else {}

    def labels(self) -> tuple[str, ...]:
        """The classes of the prompt."""
        return Prompt.parse(self.params.prompt).classes

    def detect(self, image: torch.Tensor, ctx: RunContext | None = None) -> Sequence[Detection]:
        """What the thresholds leave, the surest first; labels are the prompt's words.

        Raises:
            InputError: a prompt that is too long, or scores that are not finite.
            CheckpointError: the network is not on this machine, damaged, or of another kind.
            MemoryBudgetError: it does not fit on the device.
        """
        from ..hub.quiet import quiet
        from ._candidates import clipped, pick
        from ._networks import fitting

        ctx = ctx or covary.RunContext(device=covary.check_image(image).device)
        size = (int(covary.check_image(image).shape[1]), int(image.shape[2]))
        if self._network is None:
            ctx.progress(0, 1, "loading the detector")
            self._network = self._load()
        prompt = Prompt.parse(self.params.prompt)
        with quiet(), fitting(ctx.device):
            found = self._network.to(ctx.device).find(image, prompt)
        names = [prompt.classes[i] for i in found.classes.tolist()]
        what = f"boxes found by {self.params.model}"
        boxes = clipped(found.boxes, size, what)
        return pick(boxes, found.scores, names, self.params, size, what)

    @abstractmethod
    def _load(self) -> ZeroShotNetwork:
        """The network, on the CPU."""
