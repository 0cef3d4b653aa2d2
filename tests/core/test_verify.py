"""A component that returns what its interface does not allow is named, with what to do."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import covary
from covary import InputError, Pipeline, PluginError
from covary._registry import registry
from plugin_factory import write_plugin
from tiny_components import Boxed, Colours, Distinct, Rest, Stripes


def run(**parts: Any) -> covary.Segmentation:
    """One run of tiny components, some of them exchanged."""
    default = {"source": Stripes(), "features": Colours(), "clusterer": Distinct()}
    return Pipeline(**{**default, "foreground": Rest(), **parts}, device="cpu")(seed=0)


def changed(base: type, method: str, change: Callable[..., Any]) -> Any:
    """A component ``Odd`` whose method gives ``change(what base's gives, *arguments)``."""

    def odd(self: Any, *args: Any) -> Any:
        return change(getattr(base, method)(self, *args), *args)

    return type("Odd", (base,), {method: odd})()


def swap(name: str, change: Callable[[Any], Any]) -> Callable[..., Any]:
    """The result with one of its fields changed."""
    return lambda found, *_: dataclasses.replace(found, **{name: change(getattr(found, name))})


def force(name: str, change: Callable[[Any], Any]) -> Callable[..., Any]:
    """As ``swap``, behind the back of the result's own checks."""

    def forced(found: Any, *_: Any) -> Any:
        object.__setattr__(found, name, change(getattr(found, name)))
        return found

    return forced


def instead(value: Any) -> Callable[..., Any]:
    return lambda *_: value


CASES: list[tuple[str, type, str, Callable[..., Any], str]] = [
    ("source", Stripes, "open", instead(None), r"open\(\): expected covary.Variants, got None"),
    ("source", Stripes, "open", force("batches", instead(7)), "iterator of .*got a int"),
    (
        "source", Stripes, "open",
        swap("batches", lambda b: (one.images for one in b)),
        "expected covary.VariantBatch, got a Tensor; yield covary.VariantBatch",
    ),
    ("source", Stripes, "open", swap("batches", lambda b: iter([None, *b])), "got None; yield"),
    ("source", Stripes, "open", swap("count", lambda n: n + 1), "expected 5 of them.*got 4"),
    ("source", Stripes, "open", swap("count", lambda n: n - 1), "expected 3 of them.*got 4 or"),
    ("features", Colours, "encode", instead(None), "expected a torch.Tensor, got None"),
    (
        "features", Colours, "encode", lambda x, _: x.float(),
        r"expected dtype uint8, got float32; convert it: \.to\(torch\.uint8\)",
    ),
    (
        "features", Colours, "encode", lambda x, _: x[:, :1],
        r"shape \(2, 3, 12, 16\), got \(2, 1, 12, 16\)",
    ),
    ("features", Colours, "encode", lambda x, _: x[:1], r"got \(1, 3, 12, 16\)"),
    ("features", Colours, "encode", lambda x, _: x.mT, r"got \(2, 3, 16, 12\)"),
    ("features", Colours, "encode", lambda x, _: x.to("meta"), "on cpu, got one on meta"),
    ("clusterer", Distinct, "fit", instead(None), "expected covary.ClusterMap, got None; make it"),
    ("clusterer", Distinct, "fit", lambda c, *_: c.labels, "got a Tensor; make it with"),
    (
        "clusterer", Distinct, "fit", swap("labels", lambda x: x.long()),
        "labels: expected dtype int32, got int64; .*from_labels",
    ),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: x.reshape(-1)), r"got \(192,\)"),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: x.mT), r"\(12, 16\), got \(16, 12\)"),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: x.tolist()), "got a list"),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: x + 1), r"in 0\.\.2, got 1\.\.3"),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: x - 1), r"got -1\.\.1"),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: 2 - x), "ids by falling size"),
    ("clusterer", Distinct, "fit", swap("labels", lambda x: x.to("meta")), "got one on meta"),
    ("clusterer", Distinct, "fit", swap("centers", lambda x: x[:, :5]), r"\(3, 12\), got \(3, 5\)"),
    ("clusterer", Distinct, "fit", swap("centers", lambda x: x[0]), r"got \(12,\)"),
    ("clusterer", Distinct, "fit", swap("centers", lambda x: x[:0]), r"got \(0, 12\)"),
    ("clusterer", Distinct, "fit", swap("centers", lambda x: x.double()), "got float64"),
    ("clusterer", Distinct, "fit", swap("centers", instead(None)), "got None"),
    ("clusterer", Distinct, "fit", swap("inertia", instead(float("nan"))), "inertia: .*got nan"),
    ("foreground", Rest, "select", instead(None), "expected covary.Foreground, got None; make it"),
    ("foreground", Rest, "select", lambda f, *_: f.mask, "got a Tensor; make it with"),
    ("foreground", Rest, "select", swap("mask", lambda x: x.byte()), "bool, got uint8; make"),
    ("foreground", Rest, "select", swap("mask", lambda x: x.mT), r"\(12, 16\), got \(16, 12\)"),
    ("foreground", Rest, "select", swap("mask", lambda x: ~x & x), "0 pixels with found=True"),
    ("foreground", Rest, "select", swap("found", instead(False)), "with found=False"),
    ("foreground", Rest, "select", swap("clusters", lambda x: x[1:]), r"\(3,\), got \(2,\)"),
    ("foreground", Rest, "select", swap("scores", lambda x: x.double()), "got float64"),
    ("foreground", Rest, "select", swap("confidence", lambda x: x[1:]), r"\(3,\), got \(2,\)"),
    ("foreground", Rest, "select", swap("confidence", lambda x: x * 2), r"in 0\.\.1, got 2\.\.2"),
    ("foreground", Rest, "select", swap("confidence", lambda x: x / 0), r"0\.\.1, got inf"),
    ("foreground", Rest, "select", swap("names", instead(("a",))), "expected 3, or none, got 1"),
    ("foreground", Boxed, "regions", instead(None), "sequence of covary.Box, got None"),
    ("foreground", Boxed, "regions", instead([(0, 0, 4, 4)]), "covary.Box, got a tuple; return"),
    (
        "source", Stripes, "open",
        lambda found, *_: dataclasses.replace(found, batches=_scribble(found)),
        "its input, X_0, left as it was, got a change in place; work on a copy",
    ),
    ("features", Colours, "encode", lambda x, _: x.add_(1), "its input, the variants, left"),
    (
        "clusterer", Distinct, "fit",
        lambda c, summary, *_: summary.data.mul_(2) is not None and c,
        "its input, the style summary, left as it was, got a change in place",
    ),
    (
        "foreground", Rest, "select",
        lambda f, clusters, image, *_: image.zero_() is not None and f,
        "its input, X_0, left as it was",
    ),
    (
        "foreground", Rest, "select",
        lambda f, clusters, *_: clusters.labels.zero_() is not None and f,
        "its input, the labels, left as it was",
    ),
]  # fmt: skip


def _scribble(found: covary.Variants) -> Any:
    for batch in found.batches:
        found.image.zero_()
        yield batch


@pytest.mark.parametrize(("stage", "base", "method", "change", "message"), CASES)
def test_is_refused(
    stage: str, base: type, method: str, change: Callable[..., Any], message: str
) -> None:
    run(**{stage: base()})
    with pytest.raises(PluginError, match=f"{stage} local/odd.*{message}") as caught:
        run(**{stage: changed(base, method, change)})
    assert caught.value.fix


def test_a_summary_read_by_an_inference_mode_is_no_obstacle() -> None:
    with torch.inference_mode():
        assert run().found


def test_a_map_by_hand_in_canonical_order_passes() -> None:
    def by_hand(found: covary.ClusterMap, *_: Any) -> covary.ClusterMap:
        return covary.ClusterMap(found.labels.clone(), found.centers.clone(), 1.0, 3)

    assert run(clusterer=changed(Distinct, "fit", by_hand)).found


class TestDevices:
    @pytest.fixture
    def fast(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A registered clusterer for CUDA alone."""
        source = """
            import covary

            @covary.hookimpl
            def covary_components():
                yield covary.Component(
                    kind="clusterer", name="fast", target="tiny_components:Distinct",
                    devices=["cuda"],
                )
            """
        module = write_plugin(tmp_path, "acme", source).stem
        monkeypatch.syspath_prepend(tmp_path)
        registry.cache_clear()
        yield "acme/fast"
        sys.modules.pop(module, None)

    def test_one_that_a_component_cannot_use_is_refused_before_any_work(
        self, fast: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Stripes, "open", lambda *_: pytest.fail("the query was opened"))
        pipe = Pipeline(Stripes(), Colours(), fast, Rest(), device="cpu")
        message = "clusterer acme/fast: expected a device of type cuda, got 'cpu'; give device="
        for use in (pipe.plan, lambda: pipe(seed=0)):
            with pytest.raises(InputError, match=message):
                use()

    def test_variants_can_be_made_all_the_same(self, fast: str) -> None:
        assert Pipeline(Stripes(), Colours(), fast, Rest(), device="cpu").summarise(seed=0)
