"""Whether a query's folder already holds the result that would be made again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._registry import checkpoint_path
from ..errors import CovaryError, InputError

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..types import Query

__all__ = ["Finished"]


class Finished:
    """Looks for finished results of one recipe.

    Args:
        recipe: the pipeline's, with canonical ids and all defaults.
        seed: the run's seed, where one was given.
    """

    def __init__(self, recipe: Recipe, seed: int | None) -> None:
        from ..provenance import components_data

        self._recipe = recipe.model_dump(mode="json")
        self._components = components_data(recipe)
        self._seed = seed
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def look(self, folder: Path, query: Query) -> dict[str, Any] | None:
        """The provenance of a whole result in ``folder`` that is still up to date, else None.

        Up to date means: the same query, seed, recipe and versions of its components; input files
        with the same content; and no folder of images, and no file that a parameter names,
        changed since.
        """
        from ..provenance import query_data, read_provenance

        try:
            saved = read_provenance(folder)
        except InputError:
            return None
        same = (
            saved["query"] == query_data(query)
            and saved["seed"] == (self._seed if self._seed is not None else query.seed or 0)
            and saved["recipe"] == self._recipe
            and saved.get("components") == self._components
        )
        if same and _whole(folder, saved) and self._inputs_unchanged(folder, saved, query):
            return saved
        return None

    def _inputs_unchanged(self, folder: Path, saved: dict[str, Any], query: Query) -> bool:
        for name, sha256 in saved.get("inputs", {}).items():
            path = _find_input(name)
            if path is not None and self._sha256(path) != sha256:
                return False
        # Contents that nobody recorded: images added to a folder, a file of boxes.
        watched = [path for path in query.paths if path.is_dir()]
        watched += _files_named_in(self._recipe)
        finished = (folder / "provenance.json").stat().st_mtime_ns
        return all(path.stat().st_mtime_ns <= finished for path in watched)

    def _sha256(self, path: Path) -> str:
        """The file's hash; a checkpoint is read once, not once for every query."""
        from ..provenance import file_sha256

        status = path.stat()
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._hashes:
            self._hashes[key] = file_sha256(path)
        return self._hashes[key]


def _whole(folder: Path, saved: dict[str, Any]) -> bool:
    names = ["image.png", "clusters.png", "overlay.png"]
    result, image = saved.get("result", {}), saved.get("image", {})
    found = result.get("found")
    sometimes = {
        "mask.png": found,
        "raw-mask.png": found and result.get("refined"),
        "soft.png": result.get("soft"),
        "instances.png": "objects" in result,
        "objects.json": "objects" in result,
        "parts.png": result.get("parts"),
        "reconstruction.png": image.get("reconstruction"),
        "photo-overlay.png": image.get("photo"),
        "photo-mask.png": image.get("photo") and found,
    }
    names += [name for name, there in sometimes.items() if there]
    return all((folder / name).is_file() for name in names)


def _find_input(name: str) -> Path | None:
    """The file that an entry of a provenance's inputs names; None where it names none here."""
    try:
        return checkpoint_path(name)
    except CovaryError:
        return None


def _files_named_in(value: Any) -> Iterator[Path]:
    """The existing files among the texts of a recipe's plain data."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _files_named_in(item)
    elif isinstance(value, str):
        path = Path(value).expanduser()
        try:
            if path.is_file():
                yield path
        except (OSError, ValueError):  # too long, or a zero byte: text, not a path
            pass
