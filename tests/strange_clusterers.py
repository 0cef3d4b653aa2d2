"""A plugin of clusterers that misbehave, each in its own way, and one that does not."""

from __future__ import annotations

from pathlib import Path

from plugin_factory import write_plugin

__all__ = ["NAMES", "install"]

NAMES = (
    "good", "segfaults", "sleeps", "hoards", "raises", "refuses", "exits", "vanishes", "misshapes",
    "mislabels", "prints", "meddles", "starts", "lacking", "broken",
)  # fmt: skip

_SOURCE = """
import covary

NAMES = {names!r}
REQUIRES = {{"lacking": ("no_such_package",)}}


@covary.hookimpl
def covary_components():
    return [
        covary.Component(
            kind="clusterer",
            name=name,
            target="{module}:" + ("Missing" if name == "broken" else name.capitalize()),
            summary=name,
            requires=REQUIRES.get(name, ()),
            extra="all" if name == "lacking" else "",
        )
        for name in NAMES
    ]
"""

_CLASSES = '''
import os
import signal
import sys
import time
from pathlib import Path

import covary
from pydantic import Field


class Good(covary.Clusterer):
    """Thresholds the mean feature; starts from nothing."""

    class Params(covary.Params):
        k: int = Field(2, ge=1, description="clusters")

    params: Params

    def fit(self, summary, ctx=None):
        import torch

        self.misbehave(summary, ctx)
        means = summary.matrix().mean(dim=1)
        edges = torch.linspace(float(means.min()), float(means.max()), self.params.k + 1)[1:-1]
        labels = torch.bucketize(means, edges)
        centers = torch.zeros(self.params.k, summary.features)
        return covary.ClusterMap.from_labels(
            labels, centers, size=summary.size, inertia=0.0, iterations=1
        )

    def misbehave(self, summary, ctx):
        pass


class Segfaults(Good):
    def misbehave(self, summary, ctx):
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)


class Sleeps(Good):
    def misbehave(self, summary, ctx):
        Path(os.environ["AWAKE"]).touch()
        time.sleep(600)


class Hoards(Good):
    def misbehave(self, summary, ctx):
        self.hoard = bytearray(2**32)


class Raises(Good):
    def misbehave(self, summary, ctx):
        raise RuntimeError("no luck today")


class Refuses(Good):
    def misbehave(self, summary, ctx):
        raise covary.InputError("this image", expected="a nicer one", got="it", fix="smile")


class Exits(Good):
    def misbehave(self, summary, ctx):
        sys.exit(0)


class Vanishes(Good):
    def misbehave(self, summary, ctx):
        os._exit(0)


class Misshapes(Good):
    def fit(self, summary, ctx=None):
        import dataclasses

        found = super().fit(summary, ctx)
        return dataclasses.replace(found, labels=found.labels[1:])


class Mislabels(Good):
    def fit(self, summary, ctx=None):
        import dataclasses

        found = super().fit(summary, ctx)
        return dataclasses.replace(found, labels=found.labels + self.params.k)


class Prints(Good):
    def misbehave(self, summary, ctx):
        print('{"status": "ok"}' * 10000)


class Meddles(Good):
    def misbehave(self, summary, ctx):
        summary.data.mul_(0.5)


class Starts(Good):
    """Labels by the given centres, and has a tolerance but no other limit."""

    class Params(Good.Params):
        tol: float = Field(0.5, description="ignored")

    def fit_from(self, summary, centers, ctx=None):
        import torch

        labels = torch.cdist(summary.matrix(), centers).argmin(dim=1)
        centers.zero_()
        return covary.ClusterMap.from_labels(
            labels, centers, size=summary.size, inertia=0.0, iterations=1
        )


class Lacking(Good):
    pass
'''


def install(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Write the plugin, namespace ``odd``, into a site folder; the folder."""
    hook = _SOURCE.format(names=names, module="odd_clusterers")
    write_plugin(folder, "odd", hook, module="odd_plugin")
    (folder / "odd_clusterers.py").write_text(_CLASSES, encoding="utf-8")
    return folder
