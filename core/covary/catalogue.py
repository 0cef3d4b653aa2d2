"""The catalogue: components, checkpoints, presets and known plugins as validated data.

``registry.toml`` is the built-in one; plugins and users may have files of the same schema. Reading
a catalogue imports none of the components that it names.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ._hooks import API_VERSION
from .errors import InputError
from .recipe import Recipe

__all__ = [
    "KINDS",
    "Catalogue",
    "CatalogueEntry",
    "Checkpoint",
    "Component",
    "Kind",
    "KnownPlugin",
    "Preset",
    "builtin_registry",
    "read_catalogue",
]

Kind = Literal[
    "source",
    "features",
    "clusterer",
    "foreground",
    "detector",
    "landmarks",
    "refiner",
    "segmenter",
    "writer",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
_Target = Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Component(_Entry):
    """One component that a plugin offers: data about it, and where its class is."""

    kind: Kind = Field(description="which interface it implements")
    name: _Name = Field(description="short name, unique among the plugin's components of a kind")
    target: _Target = Field(description="'module:Class', imported only when it is used")
    summary: str = Field(default="", description="one line for listings")
    requires: tuple[str, ...] = Field(default=(), description="modules it needs at run time")
    extra: str = Field(default="", description="extra of the plugin's distribution that has them")
    devices: tuple[str, ...] = Field(default=("cpu",), description="device types it can run on")
    license: str = Field(default="", description="SPDX id of the component's code")
    api: str = Field(
        default=API_VERSION, pattern=r"^\d+\.\d+$", description="plugin API it was written for"
    )


class Checkpoint(_Entry):
    """A file of weights: where it is to be had, and under which licences."""

    name: _Name = Field(description="the name that parameters and presets use")
    summary: str = Field(default="", description="what it generates")
    family: str = Field(default="stylegan2", description="the source that reads it")
    file: str = Field(default="", description="'package:path' of weights shipped in a package")
    url: str = Field(default="", description="where its authors publish it")
    page: str = Field(default="", description="to open in a browser, where no url gives the file")
    sha256: _Sha256 | None = Field(default=None, description="where known")
    sha256_origin: str = Field(default="", description="who stated the hash")
    also_sha256: tuple[_Sha256, ...] = Field(
        default=(), description="hashes of known conversions of the same weights"
    )
    bytes: int | None = Field(default=None, ge=1, description="size of the file")
    resolution: int | None = Field(default=None, ge=4, description="image side in pixels")
    code_license: str = Field(default="", description="licence of the code that made it")
    weights_license: str = Field(default="", description="licence of the weights and their data")


class Preset(_Entry):
    """A whole pipeline by name."""

    name: _Name = Field(description="the name for `--preset` and `Pipeline.preset`")
    summary: str = Field(default="", description="one line for listings")
    cite: str = Field(min_length=1, description="where its values come from: table and row")
    recipe: Recipe = Field(description="the four components and their parameters")


class KnownPlugin(_Entry):
    """A distribution that is known to provide components, for hints on how to install it."""

    distribution: str = Field(description="name on the package index")
    namespace: _Name = Field(description="its namespace")
    provides: tuple[str, ...] = Field(default=(), description="short names of its components")
    summary: str = Field(default="", description="one line")


CatalogueEntry = Component | Checkpoint | Preset | KnownPlugin


class Catalogue(BaseModel):
    """One catalogue file, in the order in which it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    component: tuple[Component, ...] = ()
    checkpoint: tuple[Checkpoint, ...] = ()
    preset: tuple[Preset, ...] = ()
    known_plugin: tuple[KnownPlugin, ...] = Field(default=(), alias="known-plugin")

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """Everything in it, as a plugin's hook returns it."""
        return (*self.component, *self.checkpoint, *self.preset, *self.known_plugin)


def builtin_registry() -> Path:
    """The path of covary's own ``registry.toml``: beside this module, or a checkout's root."""
    installed = Path(__file__).with_name("registry.toml")
    return installed if installed.exists() else Path(__file__).parents[2] / "registry.toml"


def read_catalogue(path: str | Path | None = None) -> Catalogue:
    """The catalogue in a TOML file; None is covary's own ``registry.toml``.

    Raises:
        InputError: no such file, not TOML, or an entry that does not validate.
    """
    path = builtin_registry() if path is None else Path(path)
    try:
        return Catalogue.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"catalogue {path}", expected="a TOML file", got=str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"catalogue {path}", expected="valid TOML", got=str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"catalogue {path}, {where}", expected=first["msg"], got=repr(first["input"])
        ) from error
