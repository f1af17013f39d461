"""Recipes by name: those that travel with the package, and a user's own files."""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path

from mosaic.errors import RecipeError, UsageError
from mosaic.recipes.recipe import Recipe
from mosaic.recipes.schema import parse

_INSTALLED = Path(__file__).parent
_CLONE = Path(__file__).parents[2] / "catalogs"
"""Where the recipes lie in a clone; the wheel puts them beside this module."""


def folder() -> Path:
    """Where the recipes of this installation lie."""
    return _INSTALLED if any(_INSTALLED.glob("*.toml")) else _CLONE


@cache
def names() -> tuple[str, ...]:
    """Names of the recipes that travel with the package."""
    return tuple(sorted(path.stem for path in folder().glob("*.toml")))


def is_recipe(source: object) -> bool:
    """Whether a source is a recipe: one of :func:`names`, or the path of a ``.toml`` file."""
    return isinstance(source, str | os.PathLike) and (
        str(source) in names() or str(source).endswith(".toml")
    )


def load(source: str | os.PathLike[str]) -> Recipe:
    """A recipe by name, or from a file.

    Raises :class:`~mosaic.errors.RecipeError` with line and key for one that breaks the schema,
    :class:`~mosaic.errors.UsageError` for one that isn't there.
    """
    name = os.fspath(source)
    if not name.endswith(".toml"):
        if name not in names():
            near = difflib.get_close_matches(name, names(), n=3, cutoff=0.3)
            meant = f"nearest: {', '.join(near)}" if near else "`mosaic recipes` lists them"
            raise UsageError(f"no recipe {name}; {meant}")
        path = folder() / f"{name}.toml"
    else:
        path = Path(name).expanduser()
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise RecipeError("no UTF-8 text", file=str(path)) from None
    return parse(text, path.stem, str(path))


def load_all() -> tuple[Recipe, ...]:
    """All recipes that travel with the package."""
    return tuple(load(name) for name in names())
