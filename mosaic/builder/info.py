"""What a mosaic's folder holds, and what to rewrite when it moves."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson

from mosaic.builder.publish import recover
from mosaic.catalog.database import is_database, refuse
from mosaic.catalog.href import location
from mosaic.catalog.layout import COLLECTION, ITEMS, MARK, read_collection
from mosaic.catalog.stored import Stored
from mosaic.errors import CatalogError

Json = dict[str, Any]
_COUNTED = (".gti.gpkg", ITEMS, COLLECTION)
"""Files whose size is told."""


def describe(folder: str | os.PathLike[str]) -> Json:
    """What a mosaic holds, as JSON-ready values. See :func:`mosaic.info`."""
    if is_database(folder):
        stored = Stored.at(str(folder))
        document = orjson.loads(stored.whole(COLLECTION))
        return _told(stored.place.url, document, stored.taken(document["mosaic:tables"]))
    refuse(folder, "info")
    path = Path(folder).expanduser().absolute()
    recover(path)
    document = read_collection(path)
    names = {asset["href"].removeprefix("./") for asset in document["assets"].values()}
    kept = [path / name for name in (*names, COLLECTION) if name.endswith(_COUNTED)]
    return _told(str(path), document, sum(one.stat().st_size for one in kept if one.exists()))


def _told(path: str, document: Json, size: int) -> Json:
    grid = document[MARK]
    a, _, c, _, e, f = grid["transform"]
    height, width = grid["shape"]
    by_role: dict[str, list[str]] = {"tile-index": [], "stack": [], "slice": []}
    for asset in document["assets"].values():
        role = next((r for r in ("stack", "slice", "tile-index") if r in asset["roles"]), None)
        if role:
            by_role[role].append(asset["href"].removeprefix("./"))
    return {
        "path": path,
        "items": document["mosaic:items"],
        "assets": document["mosaic:assets"],
        "indexes": by_role["tile-index"],
        "stacks": by_role["stack"],
        "slices": by_role["slice"],
        "crs": grid["crs"],
        "resolution": [a, -e],
        "shape": [height, width],
        "bounds": [c, f + e * height, c + a * width, f],
        "bbox": document["extent"]["spatial"]["bbox"][0],
        "interval": document["extent"]["temporal"]["interval"][0],
        "sort": document["mosaic:sort"],
        "source_crs": [
            {"crs": name, "items": count} for name, count in document["mosaic:source_crs"]
        ],
        "bytes": size,
        "version": document["mosaic:version"],
    }


def relocate(folder: str | os.PathLike[str], base: str | None = None) -> list[str]:
    """Rewrites what needs an absolute path: the index that each ``.gti`` slice points to.

    ``base``: folder or URL under which the mosaic will be read; by default where it lies now.
    Everything else in a mosaic is relative. Returns the paths of the files rewritten. Raises
    :class:`~mosaic.errors.NotACatalogError`, and :class:`~mosaic.errors.CatalogError` when a
    file can't be written.
    """
    refuse(folder, "relocate")
    path = Path(folder).expanduser().absolute()
    own = read_collection(path)["mosaic:files"]
    root = location((base or str(path)).rstrip("/"))
    changed = []
    for file in (path / name for name in own if name.endswith(".gti")):
        tree = ET.parse(file)
        element = tree.find("IndexDataset")
        if element is None or not element.text:
            raise CatalogError(f"{file} names no index: build the mosaic again")
        name = element.text.rpartition("/")[2]
        wanted = f"{root}/{name}"
        if element.text == wanted:
            continue
        element.text = wanted
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            tree.write(fresh, encoding="utf-8")
            fresh.replace(file)
        except OSError as error:
            with suppress(OSError):  # on a full disk a part of it is there
                fresh.unlink()
            raise CatalogError(f"{file} can't be written ({error.strerror})") from error
        changed.append(str(file))
    return changed
