"""What the contracts of all kinds share: names, expected failures, and the rules of any component.

Every rule is a method ``test_<check>`` whose docstring's first line states it.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import random
import tomllib
import unittest
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

import covary
from covary import Configurable, InputError, ParamsError, RunContext
from covary._imports import heavy_imports
from covary._registry import Registered, find
from covary.context import resolve_device
from covary.errors import UnknownNameError, did_you_mean
from covary.interfaces import Determinism
from covary.recipe import SLOTS, Recipe
from covary.testing._errors import ContractError

__all__ = ["Contract", "describe_shape", "equal", "examples", "require", "unchanged"]

_PREFIX = "test_"


def examples(count: int) -> settings:
    """Hypothesis settings for a check with ``count`` examples.

    Subclasses run the check as their own, which hypothesis would otherwise take for a mistake;
    nothing is written to the folder of whoever runs it. Examples are mostly seeds, of which a
    smaller one is no simpler, so a failure is told as it was found.
    """
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )


def require(holds: bool, what: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
    """Raise a :class:`ContractError` with these words unless the condition holds."""
    if not holds:
        raise ContractError(what, expected=expected, got=got, fix=fix)


class Contract:
    """What every component keeps to, whatever its kind.

    A subclass of a kind's contract names a component, and may say with which parameters to make
    it and which checks it fails for a good reason.
    """

    name: ClassVar[str] = ""
    """Registered name; for a component that is not registered override :meth:`create`."""

    kind: ClassVar[str] = ""
    """Kind of the component; each kind's contract sets it."""

    params: ClassVar[Mapping[str, Any]] = {}
    """Parameters that are given whenever the contract makes one."""

    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Check -> why it fails. Strict: such a check that passes is a failure."""

    device: ClassVar[str] = "cpu"
    """Where to run: a torch device; ``--covary-device`` of the pytest plugin sets it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for check in cls.expected_failures:
            if check not in cls.checks():
                raise UnknownNameError(
                    f"{cls.__name__}.expected_failures names {check!r}",
                    expected="a check of this contract",
                    fix=did_you_mean(check, cls.checks()),
                )
        for check in cls.checks():
            _mark(cls, check)

    @classmethod
    def checks(cls) -> tuple[str, ...]:
        """Names of the checks, those of all components first."""
        names: dict[str, None] = {}
        for base in reversed(cls.__mro__):
            names.update(dict.fromkeys(name for name in vars(base) if name.startswith(_PREFIX)))
        return tuple(name.removeprefix(_PREFIX) for name in names)

    @classmethod
    def rule(cls, check: str) -> str:
        """What a check demands, in one sentence."""
        doc = inspect.getdoc(getattr(cls, _PREFIX + check)) or ""
        return " ".join(doc.partition("\n\n")[0].split())

    @classmethod
    def plain(cls, check: str) -> Callable[[Any], None]:
        """The function of a check, without the mark of an expected failure."""
        function = getattr(cls, _PREFIX + check)
        return getattr(function, "unmarked", function)  # type: ignore[no-any-return]

    # --- what a subclass may override ---------------------------------------------------------

    def create(self, **params: Any) -> Any:
        """The component with :attr:`params` and these; skips the check where it cannot run here."""
        if entry := self.entry():
            if why := entry.unavailable():
                self.skip(f"{entry.id} {why}")
            self.require_device()
            return entry.create({**self.params, **params})
        raise NotImplementedError(
            f"{type(self).__name__} needs the name of a registered component, or its own create()"
        )

    # --- for checks ---------------------------------------------------------------------------

    def entry(self) -> Registered | None:
        """What the registry says about the component; None where no name was given."""
        return find(self.name, self.kind) if self.name else None

    def context(self, seed: int = 0) -> RunContext:
        """A run's context on :attr:`device`, staged as the pipeline stages it."""
        where = RunContext(device=torch.device(self.device), seed=seed)
        return where.at(self.kind, self.name or "local/component")

    def require_device(self) -> None:
        """Skip the check where torch does not see the contract's device."""
        try:
            resolve_device(self.device)
        except InputError as error:
            self.skip(str(error))

    def skip(self, reason: str) -> NoReturn:
        """Leave the check out: it does not apply, or cannot run here."""
        raise unittest.SkipTest(reason)

    @contextmanager
    def leaving_random_state_alone(self) -> Iterator[None]:
        """Require that the block draws from no random state but its own."""
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        before = _random_states()
        yield
        after = _random_states()
        used = [name for name in before if before[name] != after[name]]
        require(
            not used,
            "random numbers",
            expected="draws from ctx.generator() alone, so that a run can be repeated",
            got=f"the global state of {' and '.join(used)} was used",
            fix="draw with torch's generator=ctx.generator(), or seed one with ctx.derived_seed()",
        )

    # --- rules --------------------------------------------------------------------------------

    def test_is_listed_with_summary_and_licence(self) -> None:
        """It is registered under its kind, loads, and has a summary and a licence for listings."""
        entry = self.entry()
        if entry is None:
            self.skip("it is not registered")
        entry.load()
        for field, example in (("summary", "k-means in the plane"), ("license", "MIT")):
            require(
                bool(getattr(entry.component, field)),
                f"the {field} of {entry.id}",
                expected="a line for listings",
                got="nothing",
                fix=f"give covary.Component({field}={example!r}, ...)",
            )

    def test_imports_nothing_heavy(self) -> None:
        """Listing and inspecting it imports no torch or other heavy package."""
        entry = self.entry()
        if entry is None:
            self.skip("it is not registered, so nothing lists it")
        module = entry.component.target.partition(":")[0]
        if heavy := heavy_imports([module]):
            raise ContractError(
                f"module {module}",
                expected="no heavy import at the top, because listing components imports it",
                got=f"{heavy[0].package} imported at {heavy[0].file}:{heavy[0].line}",
                fix="import it inside the methods that use it, and for types under TYPE_CHECKING",
            )

    def test_describes_its_parameters(self) -> None:
        """Its class and each of its parameters have a description."""
        component = type(self.create())
        require(bool(inspect.getdoc(component)), f"{component.__name__} has no docstring")
        for name, field in component.Params.model_fields.items():
            require(
                bool(field.description),
                f"parameter {name!r} of {component.__name__} has no description",
                fix=f"write {name}: ... = Field(..., description='...')",
            )

    def test_refuses_unknown_parameters(self) -> None:
        """A parameter that it does not have is refused with an error that names it."""
        try:
            self.create(no_such_parameter=1)
        except ParamsError as error:
            require("no_such_parameter" in str(error), "the error", got=str(error))
            return
        raise ContractError(
            "an unknown parameter",
            expected="ParamsError",
            got="it was accepted",
            fix="nest class Params(covary.Params); its configuration forbids extras",
        )

    def test_freezes_its_parameters(self) -> None:
        """Its parameters cannot be changed once it is made."""
        component = self.create()
        for name, value in component.params:
            try:
                setattr(component.params, name, value)
            except Exception:  # pydantic's, whose class is not part of the rule
                return
            raise ContractError(
                f"parameter {name!r} can be set",
                expected="frozen parameters, because a result's origin names them",
                fix="nest class Params(covary.Params)",
            )
        self.skip("it has no parameters")

    def test_parameters_survive_a_pipeline_file(self) -> None:
        """Its parameters, written to TOML and read back, make the same component."""
        component = self.create()
        again = type(component).Params(**_through_toml(component.params))
        require(
            again == component.params,
            "parameters read back from TOML",
            expected=repr(component.params),
            got=repr(again),
            fix="use parameters of plain types: numbers, text, booleans, tuples, nested models",
        )

    def test_declares_its_determinism(self) -> None:
        """It says how far two runs with one seed agree."""
        declared = self.create().determinism
        levels = get_args(Determinism)
        require(declared in levels, "determinism", expected=" or ".join(levels), got=repr(declared))

    def test_pickles(self) -> None:
        """Pickled and read back it is the same component, fit for another process."""
        component: Configurable = self.create()
        try:
            again = pickle.loads(pickle.dumps(component))  # noqa: S301  (our own bytes)
        except Exception as error:
            raise ContractError(
                "pickling",
                expected="a component that can be sent to another process",
                got=f"{type(error).__name__}: {error}",
                fix="keep no open files, locks, lambdas or loaded libraries on it; drop them in "
                "__getstate__",
            ) from error
        for what in ("id", "params"):
            got, expected = getattr(again, what), getattr(component, what)
            require(
                got == expected, f"{what} after pickling", expected=repr(expected), got=repr(got)
            )


def _mark(contract: type[Contract], check: str) -> None:
    """Give a check the mark of an expected failure, or take an inherited one off."""
    plain, reason = contract.plain(check), contract.expected_failures.get(check)
    if reason is None:
        if getattr(contract, _PREFIX + check) is not plain:
            setattr(contract, _PREFIX + check, plain)
        return

    @functools.wraps(plain)
    def expected_to_fail(self: Contract) -> None:
        plain(self)

    expected_to_fail.unmarked = plain  # type: ignore[attr-defined]
    setattr(
        contract, _PREFIX + check, pytest.mark.xfail(reason=reason, strict=True)(expected_to_fail)
    )


def _through_toml(params: covary.Params) -> dict[str, Any]:
    """Parameters as a pipeline file gives them back."""
    spec = {"use": "any", **params.model_dump(mode="json")}
    read = tomllib.loads(Recipe.parse(dict.fromkeys(SLOTS, spec)).to_toml())[SLOTS[0]]
    return {name: value for name, value in read.items() if name != "use"}


def describe_shape(value: Any) -> str:
    """A tensor by dtype and shape, anything else by its type: for the ``got`` of an error."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def equal(a: torch.Tensor, b: torch.Tensor, determinism: str) -> bool:
    """Whether two results agree as far as is declared; integers may differ in 1 % if numeric."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if determinism == "bitwise":
        return torch.equal(a, b)
    if determinism == "none":
        return True
    if a.is_floating_point():
        return torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    return bool((a == b).double().mean() > 0.99)


@contextmanager
def unchanged(tensor: torch.Tensor, what: str) -> Iterator[None]:
    """Require that the block leaves a tensor as it is."""
    before = tensor.clone()
    yield
    different = int((tensor != before).sum())
    require(
        not different,
        f"{what} was changed",
        expected="its input left as it is, because other stages read it",
        got=f"{different} of {tensor.numel()} values differ",
        fix="work on a copy: no in-place operation (names ending in _, out=, +=) on the input",
    )


def _random_states() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": [part if isinstance(part, (str, int, float)) else part.tolist()
                  for part in np.random.get_state()],
    }  # fmt: skip
