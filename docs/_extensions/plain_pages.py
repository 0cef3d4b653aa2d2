"""Builds the site from pages that are plain Markdown, and read as such where the code is hosted.

An index page's links to its own folder are its table of contents. The pages of ``PAGES`` stand in
the site for files that live elsewhere in the repository: they hold a link, which their readers on a
code host follow, and the site shows the file in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PAGES = {
    "project/benchmarks": "benchmarks/README.md",
    "project/changelog": "CHANGELOG.md",
    "project/contributing": "CONTRIBUTING.md",
    "project/avatars-encoder": "plugins/covary_plugins/restyle/weights/README.md",
    "project/avatars-generator": "plugins/covary_plugins/stylegan2/weights/README.md",
    "project/worlds-unet": "plugins/covary_plugins/segmenters/weights/README.md",
}
"""Page of the site -> file of the repository that it shows."""

_LINK = re.compile(r"(?<=\]\()([^)#\s]+)")
_SHOWN = {ROOT / file: DOCS / f"{page}.md" for page, file in PAGES.items()}


def links(text: str, folder: Path) -> Iterator[Path]:
    """The files that the Markdown ``text``, kept in ``folder``, links to."""
    for target in _LINK.findall(text):
        if (path := _file(target, folder)) is not None:
            yield path


def relinked(text: str, folder: Path, page: Path) -> str:
    """Markdown ``text`` of a file in ``folder``, with links that are right in ``page``."""

    def relink(link: re.Match[str]) -> str:
        path = _file(link[1], folder)
        if path is None:
            return link[1]
        return Path(os.path.relpath(_SHOWN.get(path, path), page.parent)).as_posix()

    return _LINK.sub(relink, text)


def contents(text: str, page: Path) -> list[str]:
    """The entries of an index ``page``'s table of contents, in the order of its links."""
    below = dict.fromkeys(
        path.relative_to(page.parent).with_suffix("").as_posix()
        for path in links(text, page.parent)
        if path != page and path.is_relative_to(page.parent) and path.suffix == ".md"
    )
    return [entry for entry in below if "/" not in entry or entry.endswith("/index")]


def _file(target: str, folder: Path) -> Path | None:
    path = Path(os.path.normpath(folder / target))
    return path if "://" not in target and path.exists() else None


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    file = ROOT / PAGES[name] if name in PAGES else page
    if file != page:
        app.env.note_dependency(file)
        source[0] = file.read_text(encoding="utf-8")
    source[0] = relinked(source[0], file.parent, page)
    if page.stem == "index":
        entries = "\n".join(contents(source[0], page))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
