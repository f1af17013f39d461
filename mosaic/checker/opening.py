"""Is a folder a mosaic at all? What it holds instead, said in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from mosaic.builder.publish import recover
from mosaic.catalog.database import refuse
from mosaic.catalog.layout import CATALOG, COLLECTION, MARK
from mosaic.checker.index import AGAIN, Mark
from mosaic.errors import CatalogError, NotACatalogError, UsageError
from mosaic.grid import affine6, canonical

Json = dict[str, Any]


def folder_of(given: str | os.PathLike[str]) -> Path:
    """The folder that a user names.

    Raises :class:`~mosaic.errors.NotACatalogError` when there is none,
    :class:`~mosaic.errors.UsageError` for a URL.
    """
    refuse(given, "check")
    path = Path(given).expanduser().absolute()
    recover(path)
    if not path.exists():
        raise NotACatalogError(f"{path}: no such folder")
    if not path.is_dir():
        raise NotACatalogError(f"{path} is a file; check takes the folder of a mosaic")
    return path


def read_document(folder: Path) -> Json:
    """The mosaic's ``collection.json``.

    Raises :class:`~mosaic.errors.NotACatalogError` that says what the folder holds instead.
    """
    path = folder / COLLECTION
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        other = f", though a {CATALOG}" if (folder / CATALOG).is_file() else ""
        what = f"{folder} holds no mosaic: there is no {COLLECTION}{other}"
        raise NotACatalogError(f"{what}; make one with: mosaic build SOURCE -o {folder}") from None
    except OSError as error:
        raise NotACatalogError(f"{path} can't be read ({error.strerror})") from error
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        start = text.lstrip()[:15].lower()
        kind = "HTML" if start.startswith((b"<!doctype", b"<html")) else "no JSON"
        raise NotACatalogError(f"{path} is {kind} ({error}); {AGAIN}") from error
    if not isinstance(document, dict) or MARK not in document:
        kind = str(document.get("type") or "") if isinstance(document, dict) else ""
        which = f"a STAC {kind}" if kind in ("Collection", "Catalog", "Feature") else "JSON"
        raise NotACatalogError(
            f"{path} is {which}, but none that mosaic made; index it with: "
            f"mosaic build {folder} -o DIR"
        )
    return document


def read_mark(folder: Path, document: Json) -> Mark:
    """The grid that a mosaic's collection tells.

    Raises :class:`~mosaic.errors.CatalogError` when it tells none.
    """
    try:
        grid = document[MARK]
        height, width = (int(value) for value in grid["shape"])
        mark = Mark(canonical(str(grid["crs"])), (height, width), affine6(grid["transform"]))
        names = document["mosaic:assets"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("mosaic:assets is no list of names")
    except (UsageError, KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{folder / COLLECTION}: {MARK} is broken ({error}); {AGAIN}") from error
    return mark
