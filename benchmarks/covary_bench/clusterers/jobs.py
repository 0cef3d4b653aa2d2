"""What is run: every discovered clusterer, in its variations, on every setting, in every track."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from itertools import product
from typing import Any, get_args

import torch

import covary
from covary.errors import InputError, UnknownNameError, did_you_mean

from .schema import Setting, Track

__all__ = [
    "TRACKS",
    "VARIATIONS",
    "Backend",
    "Job",
    "Variation",
    "backends",
    "jobs",
    "sweep",
]

TRACKS: tuple[Track, ...] = get_args(Track)


@dataclass(frozen=True, slots=True)
class Variation:
    """One way in which a clusterer takes part."""

    params: dict[str, Any] = field(default_factory=dict)
    """What is changed, in both tracks."""
    rule: dict[str, Any] = field(default_factory=lambda: {"tol": 1e-4, "max_iter": 300})
    """Parameters of scikit-learn's stop rule, for the track of the same start; those that the
    component does not have are left out, and its row says so."""
    rule_note: str = ""
    """How it departs from that rule, where the parameters do not tell."""
    note: str = ""
    """What else to know, in both tracks."""


_FAISS_RULE: dict[str, Any] = {
    "rule": {},
    "rule_note": "faiss has no tolerance: it makes 25 passes, or stops where one lowers nothing",
}
VARIATIONS: dict[str, dict[str, Variation]] = {
    "covary/lloyd": {
        "": Variation(),
        "no coarse start": Variation({"coarse": 1}),
        "torch engine": Variation({"engine": "torch"}),
    },
    "covary/faiss": {
        "all points": Variation(**_FAISS_RULE),
        "own subsample": Variation({"max_points_per_centroid": 256}, **_FAISS_RULE),
    },
    "covary/sklearn": {
        "lloyd": Variation({"algorithm": "lloyd"}),
        "elkan": Variation({"algorithm": "elkan"}),
        "minibatch": Variation(
            {"algorithm": "minibatch"}, rule_note="the rule judges single batches"
        ),
    },
    "covary/opencv": {
        "": Variation(
            rule={"tol": 1e-4, "max_iter": 100},
            rule_note="OpenCV makes 100 passes at most, and stops with the rule or later",
        ),
    },
    "covary/minibatch": {
        "": Variation(rule={"tol": 1e-4}, rule_note="the rule judges single batches"),
    },
    "covary/spherical": {
        "": Variation(note="clusters by correlation: its inertia is not what it minimises"),
    },
}
"""By canonical id, for those that take part with more than one parameter set, or need a word of
explanation; all others take part once, as they are."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A discovered clusterer in one of its variations."""

    entry: Any
    """Its registration: ``covary.components`` gives it."""
    name: str = ""
    """Of the variation."""
    variation: Variation = field(default_factory=Variation)

    @property
    def id(self) -> str:
        """Canonical id."""
        return str(self.entry.id)

    def slug(self) -> str:
        """A folder's name for it."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.id} {self.name}".lower()).strip("-")

    def versions(self) -> dict[str, str]:
        """Distribution -> version, of covary, its plugin and the packages it needs."""
        origin = self.entry.origin
        found = {"covary": covary.__version__, origin.distribution: origin.version}
        for module in self.entry.component.requires:
            for name in _distributions().get(module.partition(".")[0], ()):
                try:
                    found[name] = version(name)
                except PackageNotFoundError:  # its metadata went away since they were listed
                    continue
        return found


@dataclass(frozen=True, slots=True)
class Job:
    """One backend on one setting in one track on one device."""

    backend: Backend
    setting: Setting
    track: Track
    device: str
    """As torch names it, cpu or cuda:N; empty where there is none for it."""
    device_name: str
    """As a results file names it: cpu, or the GPU's name."""

    @property
    def params(self) -> dict[str, Any]:
        """What the component is made with, the stop rule apart."""
        return {"k": self.setting.k, **self.backend.variation.params}

    @property
    def rule(self) -> dict[str, Any]:
        """Parameters that set the common stop rule, for components that have them."""
        return self.backend.variation.rule if self.track == "same start" else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of it."""
        variation = self.backend.variation
        return variation.note, variation.rule_note if self.track == "same start" else ""

    @property
    def what(self) -> str:
        """For people, while it runs."""
        name = " ".join(filter(None, (self.backend.id, self.backend.name)))
        return f"{name}, {self.track}, k = {self.setting.k}"

    def key(self) -> str:
        """Equal for jobs that measure the same thing in the same way; fit for a file name."""
        backend = self.backend
        parts = [
            *(backend.id, backend.name, self.track, self.setting.model_dump(), self.device_name),
            *(self.params, self.rule, backend.versions()),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]

    def obstacle(self) -> tuple[str, str] | None:
        """(why, what would help) where it cannot run here at all."""
        if why := self.backend.entry.unavailable():
            return why, self.backend.entry.remedy()
        if not self.device:
            devices = " or ".join(self.backend.entry.component.devices)
            return f"runs on {devices}, which this benchmark was not asked for", "choose --device"
        return None


def backends(names: Sequence[str] = ()) -> list[Backend]:
    """Every discovered clusterer in all its variations, or those of the names.

    Raises:
        UnknownNameError: a name that no clusterer has.
        InputError: a variation sets a parameter that its component does not have.
    """
    entries = covary.components("clusterer")
    for name in names:
        if not any(name in (entry.id, entry.name) for entry in entries):
            known = [entry.name for entry in entries] + [entry.id for entry in entries]
            raise UnknownNameError(
                f"--backend: there is no clusterer {name!r}", fix=did_you_mean(name, known)
            )
    chosen = [e for e in entries if not names or e.id in names or e.name in names]
    return [backend for entry in chosen for backend in _variations(entry)]


def jobs(
    settings: Iterable[Setting],
    tracks: Sequence[Track],
    chosen: Sequence[Backend],
    device: torch.device,
) -> list[Job]:
    """One job for every backend, setting and track; those of one setting are neighbours."""
    return [
        Job(backend, setting, track, *_place(backend, device))
        for setting, track, backend in product(settings, tracks, chosen)
    ]


def sweep(
    center: Setting, sizes: Sequence[int], variants: Sequence[int], ks: Sequence[int]
) -> Iterator[Setting]:
    """Settings around ``center``, one thing changed at a time; ``center`` itself comes first."""
    seen: set[Setting] = set()
    changes: list[dict[str, int]] = [{}]
    changes += [{"k": k} for k in ks]
    changes += [{"size": size} for size in sizes]
    changes += [{"variants": n} for n in variants]
    for change in changes:
        setting = center.model_copy(update=change)
        if setting not in seen:
            seen.add(setting)
            yield setting


def _variations(entry: Any) -> Iterator[Backend]:
    if entry.id not in VARIATIONS:  # a stranger's module is imported in its own process only
        yield Backend(entry)
        return
    known = set(entry.load().Params.model_fields)
    for name, variation in VARIATIONS[entry.id].items():
        if unknown := variation.params.keys() - known:
            raise InputError(
                f"variation {name!r} of {entry.id}",
                expected=f"some of its parameters: {', '.join(sorted(known))}",
                got=", ".join(sorted(unknown)),
                fix="correct VARIATIONS in covary_bench/clusterers/jobs.py",
            )
        yield Backend(entry, name, variation)


def _place(backend: Backend, device: torch.device) -> tuple[str, str]:
    """(torch's name, the results' name) of the device it runs on: the one asked for, else cpu."""
    devices = backend.entry.component.devices
    if device.type in devices:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return str(device), name
    return ("cpu", "cpu") if "cpu" in devices else ("", "cpu")


@cache
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in packages_distributions().items()}
