"""Contracts: what every component of a kind must do, one named check a rule.

A test class of a plugin inherits one and names its component; pytest does the rest::

    from covary.testing import ClustererContract


    class TestSketch(ClustererContract):
        name = "acme/sketch"

``covary check acme/sketch`` runs the same without a test file.
"""

from __future__ import annotations

from covary.testing.contracts._base import Contract
from covary.testing.contracts.clusterer import ClustererContract
from covary.testing.contracts.detector import DetectorContract
from covary.testing.contracts.features import FeatureSpaceContract
from covary.testing.contracts.foreground import ForegroundRuleContract
from covary.testing.contracts.landmarks import LandmarkDetectorContract
from covary.testing.contracts.refiner import RefinerContract
from covary.testing.contracts.segmenter import SegmenterContract
from covary.testing.contracts.source import VariantSourceContract
from covary.testing.contracts.writer import WriterContract

__all__ = [
    "CONTRACTS",
    "ClustererContract",
    "Contract",
    "DetectorContract",
    "FeatureSpaceContract",
    "ForegroundRuleContract",
    "LandmarkDetectorContract",
    "RefinerContract",
    "SegmenterContract",
    "VariantSourceContract",
    "WriterContract",
]

CONTRACTS: dict[str, type[Contract]] = {
    "source": VariantSourceContract,
    "features": FeatureSpaceContract,
    "clusterer": ClustererContract,
    "foreground": ForegroundRuleContract,
    "detector": DetectorContract,
    "landmarks": LandmarkDetectorContract,
    "refiner": RefinerContract,
    "segmenter": SegmenterContract,
    "writer": WriterContract,
}
"""The contract of each kind."""
