"""Reports as one HTML file that loads nothing: the templates' environment, and a style for all.

A template writes ``<style>{% include "page.css" %}</style>`` and has a page that is readable on a
phone, on a desktop, in print and in the dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingPackageError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["templates"]


def templates(package: str) -> Environment:
    """The templates in the folder ``templates`` of a package, beside ``page.css``.

    Everything is escaped unless a template says otherwise, and an unknown name is an error.

    Args:
        package: as in an import statement.

    Raises:
        MissingPackageError: jinja2 is not installed.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingPackageError(
            "HTML reports need jinja2, which is not installed",
            fix="run: pip install 'covary[eval]'",
        ) from error
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(__name__, "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
