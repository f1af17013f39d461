"""Doors to a mosaic in PostGIS: small ``.gti`` files by which GDAL and QGIS open its tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from mosaic.catalog.database import is_database
from mosaic.catalog.gti import read_xml
from mosaic.catalog.layout import index_name, safe
from mosaic.catalog.stored import Stored
from mosaic.errors import CatalogError, UsageError, redact

Json = dict[str, Any]

_OWN_LINKS = ("root", "parent", "item")


def door_name(asset: str) -> str:
    """File name of the door to an asset's rows."""
    return f"{safe(asset)}.gti"


def document_of(document: Json, tables: Mapping[str, str]) -> Json:
    """The collection of a mosaic whose indexes are tables, by asset: its assets are doors."""
    assets = {}
    for name, asset in document["assets"].items():
        if "tile-index" not in asset["roles"]:
            continue
        if name in tables:
            asset = {
                **asset,
                "href": f"./{door_name(name)}",
                "type": "application/xml",
                "mosaic:table": tables[name],
            }
        assets[name] = asset
    return {
        **document,
        "assets": assets,
        "links": [link for link in document["links"] if link["rel"] not in _OWN_LINKS],
        "mosaic:files": sorted(one["href"].removeprefix("./") for one in assets.values()),
    }


def door_files(folder: Path, document: Json, tables: Mapping[str, str]) -> dict[str, bytes]:
    """The doors of a built folder by name, for tables by asset; they name no database yet."""
    found = {
        door_name(asset): _door(read_xml(folder / index_name(asset)), table)
        for asset, table in tables.items()
    }
    for name in document["mosaic:files"]:
        if name.endswith(".gti"):
            text = (folder / name).read_text(encoding="utf-8")
            asset = next(one for one in tables if f"/{index_name(one)}<" in text)
            found[name] = _door(text, tables[asset])
        elif name.endswith(".vrt") and "/" not in name:
            found[name] = _stack((folder / name).read_text(encoding="utf-8"), tables)
    return found


def _door(text: str, table: str) -> bytes:
    root = ET.fromstring(text)
    dataset = root.find("IndexDataset")
    if dataset is None:
        dataset = ET.Element("IndexDataset")
        root.insert(0, dataset)
    dataset.text = ""
    layer = root.find("IndexLayer")
    assert layer is not None
    layer.text = table
    return _bytes(root)


def _stack(text: str, tables: Mapping[str, str]) -> bytes:
    """A stack of indexes as one of doors."""
    root = ET.fromstring(text)
    doors = {index_name(asset): door_name(asset) for asset in tables}
    for name in root.iter("SourceFilename"):
        name.text = doors[name.text or ""]
    return _bytes(root)


def _bytes(root: ET.Element) -> bytes:
    found: bytes = ET.tostring(root, encoding="utf-8")
    return found + b"\n"


def write_doors(url: str, folder: str | os.PathLike[str]) -> list[str]:
    """Writes the doors of a mosaic in PostGIS into a folder. See :func:`mosaic.doors`."""
    if not is_database(url):
        raise UsageError(f"{redact(str(url))}: doors lead to a database (postgresql://…)")
    stored = Stored.at(url)
    target = Path(folder).expanduser().absolute()
    connection = stored.place.for_gdal()
    written = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in stored.names():
            if not name.endswith((".gti", ".vrt")) or safe(name) != name:
                continue  # a name with a path in it would lead out of the folder
            root = ET.fromstring(stored.whole(name))
            for dataset in root.iter("IndexDataset"):
                dataset.text = connection
            fresh = target / f".{name}.{os.getpid()}"
            try:
                fresh.write_bytes(_bytes(root))
                fresh.replace(target / name)
            finally:  # of a full disk's file a part is there
                fresh.unlink(missing_ok=True)
            written.append(str(target / name))
    except OSError as error:
        raise CatalogError(f"{target} can't be written ({error.strerror})") from error
    return written
