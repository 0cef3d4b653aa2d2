"""Real plugin distributions for tests: a module and the metadata an installer would leave."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

__all__ = ["write_plugin"]


def write_plugin(
    folder: Path,
    namespace: str,
    source: str,
    *,
    distribution: str | None = None,
    version: str = "1.0",
    module: str | None = None,
    target: str | None = None,
    group: str = "covary",
    requires: str = "",
) -> Path:
    """Write an installed-looking distribution into ``folder``; return the module's path.

    ``folder`` is a site folder: put it on ``sys.path`` (``monkeypatch.syspath_prepend``), or on
    ``PYTHONPATH`` of a subprocess, and forget what was discovered
    (``covary._registry.registry.cache_clear()``). Several plugins may share one folder.

    Args:
        folder: made if need be.
        namespace: name of the entry point.
        source: Python text of the plugin's module; indentation common to all lines is removed.
        distribution: its name, ``covary-<namespace>`` by default.
        version: its version.
        module: its module's name, by default made from the distribution's, so that two plugins
            of one namespace do not share a module.
        target: the entry point's value, if it is not the module itself.
        group: the entry-point group.
        requires: one requirement of the distribution.
    """
    distribution = distribution or f"covary-{namespace}"
    module = module or distribution.replace("-", "_").replace(".", "_")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}.py"
    path.write_text(dedent(source), encoding="utf-8")
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = f"[{group}]\n{namespace} = {target or module}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    return path
