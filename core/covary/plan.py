"""What a pipeline will need, worked out before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import MemoryBudgetError

__all__ = ["Plan", "StagePlan"]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """Predicted memory of one stage."""

    stage: str
    """``summary``, or a component's place in a file: ``source``, ``classes.sofa.clusterer``, ..."""
    component: str
    """Canonical id, empty for the summary itself."""
    bytes: int | None
    """Bytes beyond the style summaries, the crop of a box included where there are boxes, which may
    be almost the whole image; None where the component makes no estimate."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Predicted memory of a whole run; the stages run one after the other beside the summary.

    With classes of other features there is a summary for each distinct feature space.
    """

    size: tuple[int, int]
    """(H, W) of the image."""
    variants: int
    """n."""
    features: int
    """D = C*n, in the pipeline's own feature space."""
    summary_bytes: int
    """Bytes of all style summaries, which stay for the whole run."""
    stages: tuple[StagePlan, ...]
    """In the order in which they run."""
    budget: int
    """Bytes that the device has to give."""
    together: int = 1
    """How many queries the source has open at once; the other stages see one."""

    @property
    def peak_bytes(self) -> int:
        """The summary beside its most demanding stage."""
        return self.summary_bytes + max((stage.bytes or 0 for stage in self.stages), default=0)

    @property
    def fits(self) -> bool:
        """Whether every stage stays inside the budget."""
        return self.peak_bytes <= self.budget

    def check(self) -> None:
        """Refuse what will not fit.

        Raises:
            MemoryBudgetError: names the first stage that does not fit.
        """
        for stage in self.stages:
            need = self.summary_bytes + (stage.bytes or 0)
            if need > self.budget:
                height, width = self.size
                where = f"stage {stage.stage!r}" + (
                    f" ({stage.component})" if stage.component else ""
                )
                many = f" of {self.together} queries" if self.together > 1 else ""
                raise MemoryBudgetError(
                    f"{where} will not fit at {height}x{width} with {self.variants} variants{many}",
                    expected=f"at most {_mib(self.budget)}",
                    got=_mib(need),
                    fix=("open fewer queries together, " if many else "")
                    + "use fewer variants, a smaller image, a streaming clusterer such as "
                    "lloyd, or a larger memory budget",
                )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
