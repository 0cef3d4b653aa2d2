"""Where the method fails, reproduced: ``python -m covary_bench.limits``.

Every case holds settings that are said to fail beside one that works, on the same seeds. Rendered
scenes, altered where a case asks for it, have exact masks. Images of the bundled generator are
judged by a small segmentation network, trained on rendered avatars, whose own skill is reported. A
photo is a rendered picture, so its mask is exact too. Quality only: nothing here measures time.
Seeds start at 1000; smaller ones were looked at while defaults were chosen. Where a rule finds
nothing, the mask counts as empty.
"""

from .cases import CASES, Case, Setting
from .outcome import Outcome

__all__ = ["CASES", "Case", "Outcome", "Setting"]
