"""One input judged by another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .classes import Classes
from .evaluation import WORST, Evaluation, judged
from .inputs import Rendered
from .pairs import Judge, Listed, Matching, Resize
from .scores import Rules

__all__ = ["compare"]


def compare(
    prediction: Listed | Judge,
    truth: Listed | Judge,
    *,
    classes: Sequence[str] = (),
    merge: Mapping[str, Sequence[str]] | None = None,
    masks: bool = False,
    ignore: int | None = None,
    resize: Resize | None = None,
    rules: Rules | None = None,
    worst: int = WORST,
    report: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """The predictions of one input judged by the truth of another, matched by name.

    A name that is a number is the same whatever its leading zeros. What has no partner, or cannot
    be read, is left out and listed in ``problems`` of the evaluation.

    Args:
        prediction: what is judged.
        truth: what it is judged by.
        classes: those to judge, by name; none takes all, which both must then have.
        merge: new class -> those that become it.
        masks: whether to take everything but the background as one class.
        ignore: a value of the truth that is left out.
        resize: ``"nearest"`` scales predictions to the truth's size; None refuses other sizes.
        rules: parameters of the metrics.
        worst: how many pairs to keep for the report.
        report: called with the name of each image before it is read.

    Raises:
        InputError: neither input lists its images, classes that differ, exact masks of other
            scenes than the predictions', or no image that could be judged.
        CovaryError: what would fail for every image.
    """
    if not (isinstance(prediction, Listed) or isinstance(truth, Listed)):
        raise InputError(
            "inputs",
            expected="one of them to say which images there are",
            got="a renderer or segmenter for both",
            fix="give a folder, a data set or a pipeline with seeds",
        )
    for one, other in ((prediction, truth), (truth, prediction)):
        if isinstance(one, Rendered):
            _check_scenes(one, other)
    common = Classes.common(
        prediction.classes, truth.classes, chosen=classes, merge=merge, masks=masks
    )
    matching = Matching(prediction, truth, common, ignore, resize)
    evaluation = judged(
        matching.pairs(report),
        Evaluation(common.names, rules or Rules(), inputs=_described(matching, merge or {})),
        worst,
    )
    evaluation.problems = {
        "missing": matching.missing,
        "extra": matching.extra,
        "failed": matching.failed,
    }
    if not evaluation.images:
        raise _nothing_judged(matching)
    return evaluation


def _described(matching: Matching, merge: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What was compared, as plain data."""
    return {
        "prediction": matching.prediction.describe(),
        "truth": matching.truth.describe(),
        "merge": {name: list(members) for name, members in merge.items()},
        "ignore": matching.ignore,
        "resize": matching.resize,
    }


def _check_scenes(rendered: Rendered, other: Listed | Judge) -> None:
    """Refuse what is known to show other scenes: a generator's images have seeds too."""
    source = getattr(other, "source", None)
    if source is None:
        return
    shown = source.params.get("world", "avatars")
    if source.use != "covary/worlds" or shown != rendered.world:
        raise InputError(
            f"exact masks of {rendered.world}",
            expected="images that the source 'worlds' rendered of that world",
            got=f"images of {source.use}" + (f", {shown}" if source.use == "covary/worlds" else ""),
            fix="judge by a segmenter (`covary list segmenter`), or by masks of your own",
        )


def _nothing_judged(matching: Matching) -> InputError:
    """The error to raise where no image has a prediction and a truth."""
    if matching.failed:
        name, why = next(iter(matching.failed.items()))
        got = f"none: all {len(matching.failed)} failed; {name}: {why}"
        return InputError("images", expected="at least one that can be judged", got=got)
    ours, theirs = matching.extra[:1], matching.missing[:1]
    got = f"predictions such as {ours}, truth such as {theirs}" if ours and theirs else "none"
    return InputError(
        "images",
        expected="some of one name in both",
        got=got,
        fix="name predictions after the images, e.g. 00042.png",
    )
