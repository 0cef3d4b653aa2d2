"""All tables on one page that loads nothing: ``paper.html``."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from PIL import Image

from covary.errors import InputError
from covary.files import output_folder, replacing
from covary.pages import templates

from ..clusterers.charts import DARK
from .charts import charts
from .claims import claims
from .tables import NAMES, TITLES, kind_of, tables

__all__ = ["HTML", "html", "results_files", "write_report"]

HTML = "paper.html"
_FACTS = ("processor", "cores", "system", "python", "torch", "numpy", "covary", "torch_threads")
_QUALITY = 68


@dataclass(frozen=True, slots=True)
class _Strip:
    """One row of pictures."""

    caption: str
    address: str
    """The picture itself, as a data URI."""
    width: int
    height: int


def write_report(results: Path, folder: Path) -> Path:
    """Write ``paper.html`` into the folder; its path.

    Args:
        results: folder with the files of the tables, ``paper-*.json``.
        folder: made if need be.

    Raises:
        InputError: there are none.
        OutputError: the place cannot be written.
    """
    path = output_folder(folder) / HTML
    text = html(results)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def results_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of the tables by name, in the tables' order.

    Raises:
        InputError: there are none.
    """
    found = {}
    for kind in TITLES:
        for path in sorted(folder.glob(f"{kind}*.json"), key=lambda path: path.stem):
            if path.stem == kind or path.stem.startswith(f"{kind}-"):
                found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    if not found:
        raise InputError(
            f"results in {folder}",
            expected="files paper-table1.json and the like",
            got="none",
            fix="measure a table first: covary bench paper table1",
        )
    return found


def html(folder: Path) -> str:
    """The page of the tables in a folder."""
    found = results_files(folder)
    sections = [_section(name, data, folder) for name, data in found.items()]
    environment = templates(__package__ or "")
    return environment.get_template("paper.html").render(sections=sections, dark=DARK)


def _section(name: str, data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the template needs of one table."""
    kind = kind_of(name)
    preset = name.removeprefix(kind).removeprefix("-")
    paragraphs = [" ".join(part.split()) for part in data["method"].split("\n\n")]
    return {
        "name": name,
        "title": f"{TITLES[kind]}, preset {preset}" if preset else TITLES[kind],
        "lead": _prose(paragraphs[0]),
        "method": [_prose(part) for part in paragraphs[1:]],
        "seeds": _seeds(kind, data),
        "tables": tables(name, data),
        "claims": claims(kind, data),
        "charts": charts(kind, data),
        "strips": list(_strips(data.get("pictures"), folder)),
        "facts": [(key, data["machine"][key]) for key in _FACTS if data["machine"].get(key)],
        "command": data["command"],
        "remark": data["remark"],
    }


def _seeds(kind: str, data: Mapping[str, Any]) -> str:
    first, count = data["first_seed"], data["seeds"]
    return f"seeds {first} to {first + count - 1}" if count > 1 else f"seed {first}"


def _prose(text: str) -> Markup:
    """HTML of text whose `code` stands between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _strips(pictures: Mapping[str, Any] | None, folder: Path) -> Iterator[tuple[str, list[_Strip]]]:
    """(part of the table, its rows of pictures), cut from the table's one file."""
    if not pictures or not (folder / pictures["file"]).exists():
        return
    groups: dict[str, list[_Strip]] = {}
    height = pictures["tile"][0]
    with Image.open(folder / pictures["file"]) as whole:
        picture = whole.convert("RGB")
    for index, row in enumerate(pictures["rows"]):
        part = picture.crop((0, index * height, picture.width, (index + 1) * height))
        address = _address(part)
        caption = NAMES.get(row["caption"], row["caption"])
        strip = _Strip(caption, address, part.width, part.height)
        groups.setdefault(row["group"], []).append(strip)
    yield from groups.items()


def _address(picture: Image.Image) -> str:
    written = io.BytesIO()
    picture.save(written, format="WEBP", quality=_QUALITY, method=6)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode('ascii')}"
