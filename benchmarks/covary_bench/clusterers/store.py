"""Results files on disk: read with one clear complaint, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covary.errors import InputError
from covary.files import output_folder, replacing

from .schema import FORMAT, VERSION, Results

__all__ = ["FILE", "load_results", "results_files", "save_results"]

FILE = "clusterers.json"
"""The name of a results file in its folder."""

_AGAIN = "run `covary bench clusterers` again"


def load_results(path: str | os.PathLike[str]) -> Results:
    """The validated results of a file, or of ``clusterers.json`` in a folder.

    Raises:
        InputError: no such file, a folder without one, not JSON, not results of this benchmark,
            results of another version, or a row that does not validate.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    data = _read(path)
    _check_origin(data, path)
    try:
        return Results.model_validate(data)
    except ValidationError as error:
        raise _invalid(error, path) from error


def results_files(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or every ``clusterers*.json`` of a folder, by name.

    Raises:
        InputError: nothing is there, or a folder without any.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("clusterers*.json"), key=lambda file: file.stem)
    if not found:
        raise InputError(
            f"folder {path}",
            expected=f"{FILE}, which `covary bench clusterers --out` writes",
            got="none",
            fix="name the folder of a finished benchmark",
        )
    return found


def save_results(results: Results, path: str | os.PathLike[str]) -> Path:
    """Write results so that :func:`load_results` gives equal ones; the path written.

    The folder is made if need be, and the file appears under its name only when it is whole.

    Raises:
        InputError: results that JSON cannot hold, e.g. an inertia that is not a number.
        OutputError: the place cannot be written.
    """
    path = Path(path)
    try:
        text = json.dumps(results.model_dump(), indent=2, allow_nan=False, ensure_ascii=False)
        Results.model_validate_json(text)
    except ValidationError as error:
        raise _invalid(error, path) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"results for {path}", expected="finite numbers and plain values", got=str(error)
        ) from error
    output_folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def _read(path: Path) -> Any:
    what = f"results file {path}"
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError as error:
        raise InputError(what, expected="a results file", got="no such file", fix=_AGAIN) from error
    except OSError as error:
        got = error.strerror or str(error)
        raise InputError(what, expected="a readable file", got=got) from error
    # RecursionError: brackets nested deeper than the parser follows.
    except (ValueError, RecursionError) as error:
        got = str(error) or "brackets nested too deeply"
        raise InputError(what, expected="valid JSON", got=got, fix=_AGAIN) from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant}, which is not a number of JSON")


def _check_origin(data: Any, path: Path) -> None:
    what = f"results file {path}"
    form = data.get("format") if isinstance(data, dict) else None
    if form != FORMAT:
        got = f"format {form!r}" if form is not None else "JSON without a format"
        fix = "name a clusterers.json that `covary bench clusterers` wrote"
        raise InputError(what, expected=f"format {FORMAT!r}", got=got, fix=fix)
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > VERSION
        raise InputError(
            what,
            expected=f"version {VERSION}",
            got=f"version {version!r}",
            fix="update covary, or run the benchmark again with this one" if newer else _AGAIN,
        )


def _invalid(error: ValidationError, path: Path) -> InputError:
    problems = error.errors(include_url=False)
    first = problems[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    expected, got = first["msg"], _shortened(repr(first["input"]))
    if first["type"] == "missing":
        expected, got = "a value", "none"
    what = f"results file {path}, {where}{more}"
    return InputError(what, expected=expected, got=got, fix=_AGAIN)


def _shortened(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
