"""Masks judged by the truth: figures, the worst cases, a report.

::

    evaluation = covary.evaluate([(prediction, truth), ...])
    evaluation.summary()["figures"]["all"]["per_image_mean"]["miou"]
    evaluation.save("judged")

:func:`compare` does the same for what ``covary eval`` takes: folders of masks or results, data
sets, exact masks of rendered scenes, segmenters. ``classes`` brings their class names together,
``pairs`` their images, ``scores`` counts pixels, ``report`` writes the page.
"""

from __future__ import annotations

from .classes import Classes
from .comparison import EvaluationProgress, compare
from .evaluation import Evaluation, Row, evaluate
from .inputs import InputOptions, exact, open_input
from .pairs import (
    Entry,
    Judge,
    LabelMap,
    Listed,
    Match,
    Matching,
    Pair,
    SupportsBatches,
    SupportsFingerprint,
)
from .scores import Counts, Figures, Rules

__all__ = [
    "Classes",
    "Counts",
    "Entry",
    "Evaluation",
    "EvaluationProgress",
    "Figures",
    "InputOptions",
    "Judge",
    "LabelMap",
    "Listed",
    "Match",
    "Matching",
    "Pair",
    "Row",
    "Rules",
    "SupportsBatches",
    "SupportsFingerprint",
    "compare",
    "evaluate",
    "exact",
    "open_input",
]
