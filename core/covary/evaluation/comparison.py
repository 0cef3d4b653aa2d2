"""One input judged by another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from .._metadata import installed_version
from .._rate import Rate
from ..errors import InputError
from ._ledger import Judged, Ledger
from .classes import Classes
from .evaluation import WORST, Evaluation, Worst
from .inputs import PipelineResults, Rendered
from .pairs import (
    Judge,
    Listed,
    Match,
    Matching,
    Pair,
    Resize,
    SupportsBatches,
    SupportsFingerprint,
    natural,
)
from .scores import Rules

__all__ = ["EvaluationProgress", "compare"]

_T = TypeVar("_T")

_BATCH = 16
_PACKAGES = ("covary", "torch", "numpy", "pillow")
"""What figures depend on, whatever the inputs."""


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """How far an evaluation is."""

    images: int
    """Images to judge, at most: those that only one input has are found on the way."""
    done: int
    """Images that are judged, or failed."""
    kept: int
    """Images among them that an earlier run had judged."""
    failed: int
    """Images among them that could not be judged."""
    rate: float | None
    """Images per second over the last two minutes; None before there is one to tell from."""
    seconds_left: float | None
    """At this rate."""


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
    batch: int | None = None,
    keep_in: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda name: None,
    progress: Callable[[EvaluationProgress], None] = lambda progress: None,
) -> Evaluation:
    """The predictions of one input judged by the truth of another, matched by name.

    A name that is a number is the same whatever its leading zeros. What has no partner, or cannot
    be read, is left out and listed in ``problems`` of the evaluation.

    With ``keep_in`` a run may be stopped in any way: the same call goes on, with the images that
    are not judged yet, and gives the same. What failed is tried again. Inputs whose files have
    changed are judged again, an input of one's own as far as its ``Entry.stamp`` and
    ``fingerprint`` (:class:`SupportsFingerprint`) tell.

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
        batch: how many images a segmenter looks at together, where their sizes are equal; None
            takes 16, or 1 beside a pipeline, which takes longer than it. Nothing else depends on it
            but how many images are lost by a kill.
        keep_in: the folder of the report, to keep there what is judged until it is saved.
        report: called with the name of each image before it is read.
        progress: called as it goes on.

    Raises:
        OutputError: what is judged cannot be kept.
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
    evaluation = Evaluation(
        common.names, rules or Rules(), inputs=_described(matching, merge or {})
    )
    kept = None if keep_in is None else Ledger(Path(keep_in), _task(matching, evaluation))
    with kept or nullcontext() as ledger:
        run = _Run(matching, evaluation, worst, ledger, progress)
        run.do(_batch_size(batch, matching), report)
    evaluation.problems = {
        "missing": matching.missing,
        "extra": matching.extra,
        "failed": dict(sorted(matching.failed.items(), key=lambda one: natural(one[0]))),
    }
    if not evaluation.images:
        raise _nothing_judged(matching)
    return evaluation


class _Run:
    """One run of a comparison: what is kept from before, what is judged now.

    Args:
        matching: the pairs.
        evaluation: takes them in.
        worst: how many pairs to keep for the report.
        ledger: what is judged already; None keeps nothing.
        tell: called as it goes on.
    """

    def __init__(
        self,
        matching: Matching,
        evaluation: Evaluation,
        worst: int,
        ledger: Ledger | None,
        tell: Callable[[EvaluationProgress], None],
    ) -> None:
        self._matching, self._evaluation, self._ledger = matching, evaluation, ledger
        self._tell, self._rate = tell, Rate()
        self._worst, self._pairs = Worst[str](worst), dict[str, Pair]()
        self._known = {} if ledger is None else dict(ledger.rows())
        self._kept, self._made, self._number = len(self._known), 0, 0

    def do(self, batch: int, report: Callable[[str], None]) -> None:
        """Judge all pairs, so many at a time."""
        self._rate.began(0)
        self._say()
        for matches in _batched(self._matching.matches(), batch):
            new = [match for match in matches if not self._is_known(match)]
            pairs = {pair.name: pair for pair in self._matching.read(new, report)}
            judged = {
                match.name: Judged(
                    match.name, match.stamp, pair.found, self._evaluation.count(pair)
                )
                for match in new
                if (pair := pairs.get(match.name)) is not None
            }
            self._take_in(matches, judged, pairs)
            self._made += len(new)
            self._rate.mark(self._made)
            self._say()
        self._evaluation.worst = self._whole_pairs(report)

    def _whole_pairs(self, report: Callable[[str], None]) -> list[Pair]:
        """The worst pairs; what an earlier run left no whole copy of is read again."""
        names = self._worst.items()
        for name in names:
            if name not in self._pairs and self._ledger is not None:
                kept = self._ledger.pair(name)
                self._pairs |= {} if kept is None else {name: kept}
        lacking = {name for name in names if name not in self._pairs}
        if lacking:
            again = replace(self._matching, missing=[], extra=[], failed={})
            for match in again.matches():
                if match.name in lacking:
                    self._pairs |= {pair.name: pair for pair in again.read([match], report)}
        return [self._pairs[name] for name in names if name in self._pairs]

    def _is_known(self, match: Match) -> bool:
        known = self._known.get(match.name)
        if known is not None and known.stamp != match.stamp:
            del self._known[match.name]
            self._kept -= 1
        return match.name in self._known

    def _take_in(
        self, matches: Sequence[Match], judged: Mapping[str, Judged], pairs: Mapping[str, Pair]
    ) -> None:
        """Add what is known of each, in their order, and keep what is new."""
        dropped = []
        for match in matches:
            one = judged.get(match.name) or self._known.get(match.name)
            if one is None:
                continue  # it failed
            miou = self._evaluation.add_counts(one.name, one.found, one.counts).miou
            self._number += 1
            out = self._worst.offer(miou, self._number, match.name)
            if match.name in judged and out != match.name:
                self._pairs[match.name] = pairs[match.name]
                if self._ledger is not None:
                    self._ledger.keep(pairs[match.name])
            if out is not None:
                self._pairs.pop(out, None)
                dropped.append(out)
        if self._ledger is not None and judged:
            self._ledger.add(list(judged.values()))
            for name in dropped:
                self._ledger.drop(name)

    def _say(self) -> None:
        done = self._kept + self._made
        rate, images = self._rate.per_second(self._made), max(len(self._matching), done)
        left = (images - done) / rate if rate else None
        failed = len(self._matching.failed)
        self._tell(EvaluationProgress(images, done, self._kept, failed, rate, left))


def _batched(items: Iterator[_T], size: int) -> Iterator[list[_T]]:
    while some := list(islice(items, size)):
        yield some


def _batch_size(batch: int | None, matching: Matching) -> int:
    """How many images are held at a time.

    Raises:
        InputError: less than one.
    """
    if batch is not None and batch < 1:
        raise InputError("batch", expected="at least 1", got=str(batch))
    sides = (matching.prediction, matching.truth)
    if not any(isinstance(one, SupportsBatches) for one in sides):
        return 1
    if batch is None:
        # A stop costs what is not judged: of a pipeline's results that would be too much.
        return 1 if any(isinstance(one, PipelineResults) for one in sides) else _BATCH
    return batch


def _task(matching: Matching, evaluation: Evaluation) -> dict[str, Any]:
    """All that figures depend on apart from the files of single images, as plain data."""
    sides = {"prediction": matching.prediction, "truth": matching.truth}
    return {
        "versions": {name: installed_version(name) for name in _PACKAGES},
        "inputs": evaluation.inputs,
        "classes": asdict(matching.classes),
        "rules": asdict(evaluation.rules),
        "fingerprints": {
            side: one.fingerprint()
            for side, one in sides.items()
            if isinstance(one, SupportsFingerprint)
        },
    }


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
