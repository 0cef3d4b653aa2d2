"""Tools for testing covary and its plugins; each part loads on first use.

- contracts: what every component of a kind must do, as classes to inherit in a plugin's tests
  (``ClustererContract`` and the others), and ``run_contract`` to run one without pytest;
- ``covary.testing.strategies``: hypothesis strategies for images, batches, summaries, seeds;
- ``covary.testing.worlds``: procedural scenes with known masks;
- ``covary.testing.data``, ``covary.testing.reference``: summaries with known clusters, and k-means
  in float64 to compare with;
- ``covary.testing.plugin``: a pytest plugin with ``--covary-device`` and ``isolated_registry``.

All but the worlds need the extra ``testing``: ``pip install 'covary[testing]'``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from covary.errors import MissingPackageError

if TYPE_CHECKING:
    from covary.testing import data, memory, reference, strategies, worlds
    from covary.testing._errors import ContractError
    from covary.testing.contracts import (
        ClustererContract,
        Contract,
        DetectorContract,
        FeatureSpaceContract,
        ForegroundRuleContract,
        LandmarkDetectorContract,
        RefinerContract,
        SegmenterContract,
        VariantSourceContract,
        WriterContract,
    )
    from covary.testing.runner import CheckResult, contract_for, run_contract

_SUBMODULES = ("data", "memory", "reference", "strategies", "worlds")
_HOME = {
    "CheckResult": "runner",
    "ClustererContract": "contracts",
    "Contract": "contracts",
    "ContractError": "_errors",
    "DetectorContract": "contracts",
    "FeatureSpaceContract": "contracts",
    "ForegroundRuleContract": "contracts",
    "LandmarkDetectorContract": "contracts",
    "RefinerContract": "contracts",
    "SegmenterContract": "contracts",
    "VariantSourceContract": "contracts",
    "WriterContract": "contracts",
    "contract_for": "runner",
    "run_contract": "runner",
}

__all__ = [
    "CheckResult",
    "ClustererContract",
    "Contract",
    "ContractError",
    "DetectorContract",
    "FeatureSpaceContract",
    "ForegroundRuleContract",
    "LandmarkDetectorContract",
    "RefinerContract",
    "SegmenterContract",
    "VariantSourceContract",
    "WriterContract",
    "contract_for",
    "data",
    "memory",
    "reference",
    "run_contract",
    "strategies",
    "worlds",
]


def __getattr__(name: str) -> Any:
    # Whoever only imports this package should not pay for torch, pytest and hypothesis.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_HOME.get(name, name)}")
    except ModuleNotFoundError as error:
        if error.name not in ("hypothesis", "pytest"):
            raise
        raise MissingPackageError(
            f"covary.testing.{name} needs {error.name}", fix="run: pip install 'covary[testing]'"
        ) from error
    return module if name in _SUBMODULES else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
