"""What the contracts of sources, features, rules and detectors share.

Each of those makes one thing of one input. A kind's contract says how to make an input
(:meth:`ImageContract.sample`), what to do with it (:meth:`ImageContract.work`) and what the result
consists of (:meth:`ImageContract.values`); the rules here follow from that.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

import torch

import covary
from covary import RunContext, SupportsInputs
from covary.testing.contracts._base import Contract, equal, require, unchanged
from covary.testing.contracts._images import awkward_images, layouts_of, rendered
from covary.testing.contracts._interrupts import Calls
from covary.testing.contracts._rules import check_hashes, explained, refuses

__all__ = ["CheapContract", "ContextContract", "FinderContract", "ImageContract"]

# Weights would be more: a component that is pickled before it worked is its parameters.
_SMALL_PICKLE = 2**16


class CheapContract(Contract):
    """What a component keeps to that loads nothing before its first use."""

    def test_is_cheap_to_make(self) -> None:
        """Making one loads and computes nothing; that is for its first use."""
        self.create()  # importing its module may compute constants
        with Calls() as calls:
            component = self.create()
        fix = "load in the method that works, and keep what was loaded on self"
        require(
            not calls.tensors,
            "making the component",
            expected="its parameters alone, because listings and plans make components too",
            got=f"{calls.tensors} tensors made on the way",
            fix=fix,
        )
        size = len(pickle.dumps(component))
        require(
            size <= _SMALL_PICKLE,
            "a component that has not worked yet",
            expected=f"at most {_SMALL_PICKLE} bytes when pickled: its parameters",
            got=f"{size} bytes",
            fix=fix,
        )


class ImageContract(CheapContract):
    """What a component keeps to that makes one thing of an image, a batch of them or a query."""

    _call: ClassVar[str] = ""
    """The method that does the work, for messages."""

    def sample(self, seed: int) -> Any:
        """An input on the contract's device; another one for another seed."""
        raise NotImplementedError

    def work(self, component: Any, sample: Any, ctx: RunContext | None) -> Any:
        """What the component makes of it."""
        raise NotImplementedError

    def checked(self, result: Any, sample: Any) -> Any:
        """``result`` itself, once it is of the types and shapes that the interface demands."""
        raise NotImplementedError

    def values(self, result: Any) -> Mapping[str, Any]:
        """What a result consists of, by name: tensors, and values that can be compared."""
        raise NotImplementedError

    def tensors(self, sample: Any) -> Mapping[str, torch.Tensor]:
        """The tensors of an input, by name."""
        raise NotImplementedError

    def run(self, component: Any, sample: Any, ctx: RunContext | None = None) -> Any:
        """What the component makes of an input, checked."""
        return self.checked(self.work(component, sample, ctx or self.context()), sample)

    # --- rules --------------------------------------------------------------------------------

    def test_repeats_a_run_with_the_same_seed(self) -> None:
        """Two runs with one seed agree as far as its `determinism` declares."""
        a, b = (self.run(self.create(), self.sample(0), self.context(9)) for _ in range(2))
        self.agree(
            a,
            b,
            "two runs with the same seed",
            "draw from ctx.generator() if at all, or declare determinism = 'numeric' or 'none'",
        )

    def test_keeps_nothing_between_runs(self) -> None:
        """What it worked on before does not change a result."""
        used = self.create()
        self.run(used, self.sample(1))
        self.run(used, self.sample(0), self.context(5))
        again = self.run(used, self.sample(0))
        fresh = self.run(self.create(), self.sample(0))
        self.agree(
            fresh,
            again,
            "a component that worked on something else before",
            f"keep what {self._call} computes in local variables; on self only what depends on "
            "the parameters alone",
        )

    def test_leaves_its_input_unchanged(self) -> None:
        """What it is given is the same afterwards."""
        sample = self.sample(0)
        with ExitStack() as watched:
            for name, tensor in self.tensors(sample).items():
                watched.enter_context(unchanged(tensor, name))
            self.run(self.create(), sample)

    def test_leaves_global_random_state_alone(self) -> None:
        """It draws no number from a global generator, and seeds none."""
        component, sample = self.create(), self.sample(0)
        with self.leaving_random_state_alone():
            self.run(component, sample)

    def test_does_the_same_when_pickled(self) -> None:
        """Pickled and read back it gives the same result."""
        again = pickle.loads(pickle.dumps(self.create()))  # noqa: S301  (our own bytes)
        self.agree(
            self.run(self.create(), self.sample(0)),
            self.run(again, self.sample(0)),
            "a component that was pickled and read back",
            "let all that it needs follow from its parameters",
        )

    def test_lets_ctrl_c_through(self) -> None:
        """KeyboardInterrupt at any point of its work stops it, and it works again afterwards."""
        component, sample = self.create(), self.sample(0)
        whole = self.run(component, sample)
        with Calls(file=inspect.getsourcefile(type(component)) or "") as calls:
            self.work(self.create(), sample, self.context())
        if not calls.made:
            self.skip("it calls nothing of torch, where this could interrupt it")
        for stop_at in calls.places():
            component, interrupted = self.create(), Calls(stop_at)
            self._interrupt(component, interrupted)
            if interrupted.interrupted:
                what = "a component that was interrupted before"
                fix = "set an attribute only once what it holds is complete"
                with explained(what, fix):
                    self.agree(whole, self.run(component, sample), what, fix)

    def test_moves_between_devices(self) -> None:
        """Having run on the CPU it runs on another device, and the other way round."""
        if self.device == "cpu":
            self.skip("the contract runs on the CPU alone")
        if (entry := self.entry()) and "cpu" not in entry.component.devices:
            self.skip("it runs on its own device alone")
        component, there = self.create(), self.device
        for device in ("cpu", there, "cpu"):
            vars(self)["device"] = device
            self.run(component, self.sample(0))

    def test_names_the_files_it_read(self) -> None:
        """What `inputs` lists are names with a sha256 each."""
        component = self.create()
        if not isinstance(component, SupportsInputs):
            self.skip("it reads no files of its own (inputs)")
        self.run(component, self.sample(0))
        check_hashes(component.inputs(), "inputs()")

    # --- helpers ------------------------------------------------------------------------------

    def agree(self, a: Any, b: Any, what: str, fix: str) -> None:
        """Require that two results are the same as far as the component declares."""
        level = self.create().determinism
        if level == "none":
            self.skip("it declares no determinism")
        one, two = self.values(a), self.values(b)
        different = [
            name
            for name in one.keys() | two.keys()
            if not _same(one.get(name), two.get(name), level)
        ]
        require(
            not different,
            f"the result of {what}",
            expected=f"the same, as it declares determinism {level!r}",
            got=f"another {' and another '.join(sorted(different))}",
            fix=fix,
        )

    def same_in_layout(self, name: str, whole: Any, run: Callable[[], Any]) -> None:
        """Require the same result of an image that is stored in another order."""
        fix = "use .reshape instead of .view, and .contiguous() where a library needs it"
        with explained(f"an image stored as {name}", fix):
            self.agree(whole, run(), f"an image stored as {name}", fix)

    def in_pipeline(self, query: Any = None, **stages: Any) -> covary.Segmentation:
        """What a pipeline of small parts gives that has the component as a stage."""
        small: dict[str, Any] = {
            "source": ("worlds", {"resolution": 32, "n": 4}),
            "features": "rgb",
            "clusterer": ("lloyd", {"k": 2}),
            "foreground": "corner",
        }
        pipeline = covary.Pipeline(**small | stages, device=self.device)
        return pipeline(0 if query is None else query)

    def _interrupt(self, component: Any, calls: Calls) -> None:
        got = "it went on"
        try:
            with calls:
                self.work(component, self.sample(0), self.context())
        except KeyboardInterrupt:
            if not calls.interrupted:  # whoever runs the tests
                raise
            return
        except Exception as error:
            if not calls.interrupted:
                raise
            got = f"{type(error).__name__}: {error}"
        require(
            not calls.interrupted,
            f"Ctrl-C during {self._call}",
            expected="KeyboardInterrupt to pass through",
            got=got,
            fix="catch Exception, never BaseException or everything",
        )


class ContextContract(ImageContract):
    """What is more where the context may be left out."""

    def test_works_without_a_context(self) -> None:
        """Without a context it runs where its input is, with seed 0."""
        self.checked(self.work(self.create(), self.sample(0), None), self.sample(0))


class FinderContract(ContextContract):
    """What detectors of all kinds share: an image in, a list of findings out."""

    def sample(self, seed: int) -> torch.Tensor:
        """A rendered avatar, uint8 (3, H, W)."""
        return rendered(seed, (96, 80)).images(seed)[0].to(self.device)

    def tensors(self, sample: Any) -> Mapping[str, torch.Tensor]:
        """The image."""
        return {"the image": sample}

    def listed(self, found: Any, of: str) -> list[Any]:
        """``found`` as a list, once it is a sequence."""
        require(
            isinstance(found, (list, tuple)),
            f"what {self._call} returned",
            expected=f"a list of {of}, empty where there are none",
            got=type(found).__name__,
            fix="return a list",
        )
        return list(found)

    def test_takes_images_of_any_size(self) -> None:
        """Images of one pixel, one row, one colour or odd sides give a list, be it empty."""
        component = self.create()
        for name, image in awkward_images().items():
            with explained(name):
                self.run(component, image.to(self.device))

    def test_ignores_the_layout_in_memory(self) -> None:
        """Strided images give what the same values in one piece give."""
        component, image = self.create(), self.sample(0)
        whole = self.run(component, image)
        for name, strided in layouts_of(image).items():
            self.same_in_layout(name, whole, lambda one=strided: self.run(component, one))  # type: ignore[misc]

    def test_refuses_what_is_no_image(self) -> None:
        """A tensor of another dtype or shape than uint8 (3, H, W) is an InputError."""
        component, image = self.create(), self.sample(0)
        for name, wrong in {
            "an image of floats": image.float() / 255,
            "an image (H, W, 3)": image.movedim(0, -1),
            "a grey image (1, H, W)": image[:1],
            "a batch of one image": image[None],
            "an image without pixels": image[:, :0],
        }.items():
            refuses(
                lambda wrong=wrong: self.work(component, wrong, self.context()),  # type: ignore[misc]
                name,
                fix="begin with covary.check_image(image)",
            )


def _same(a: Any, b: Any, level: str) -> bool:
    if not (isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)):
        return bool(a == b)
    if level == "numeric" and a.shape == b.shape and a.dtype == b.dtype == torch.uint8:
        # Grey levels: rounding may move any of them by one.
        return bool(((a.int() - b.int()).abs() <= 1).double().mean() > 0.99)
    return equal(a, b, level)
