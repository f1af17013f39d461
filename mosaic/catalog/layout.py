"""Where each file of a mosaic lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from mosaic.errors import NotACatalogError

CATALOG = "catalog.json"
COLLECTION = "collection.json"
ITEMS = "items.parquet"
BRIEF = "items.arrow"
"""What opening takes of the items, where they are many."""
ITEM_FILES = "items"
"""Folder of the items as JSON, where they are few."""
PREVIEW = "preview.png"
VRT = "vrt"
"""Folder of the small VRTs that tiles need whose file lies inside the mosaic's folder."""

MASK = "mosaic:mask"
"""Field of an asset whose masks lie in a file beside it (``.msk``)."""
MARK = "mosaic:grid"
"""Field of the collection that tells a mosaic from any other STAC collection."""


def index_name(asset: str) -> str:
    """File name of an asset's tile index."""
    return f"{safe(asset)}.gti.gpkg"


def overview_name(asset: str) -> str:
    """File name of an asset's coarse overview."""
    return f"{safe(asset)}_overview.tif"


def slice_name(asset: str, label: str) -> str:
    """File name of an asset's tile index for one time slice.

    It lies beside the GeoPackage: GDAL reads relative locations of tiles against the ``.gti``.
    """
    return f"{safe(asset)}_{label}.gti"


def stack_name(assets: tuple[str, ...]) -> str:
    """File name of a stack of assets."""
    return "_".join(safe(asset) for asset in assets) + ".vrt"


def safe(name: str) -> str:
    """A name as part of a file name on every system."""
    kept = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in name)
    return kept.lstrip(".") or "_"


def is_mosaic(folder: Path) -> bool:
    """Whether a folder holds a mosaic."""
    try:
        text = (folder / COLLECTION).read_bytes()
    except OSError:
        return False
    if MARK.encode() not in text:
        return False
    try:
        return MARK in orjson.loads(text)
    except orjson.JSONDecodeError:
        return False


def read_collection(folder: Path) -> dict[str, Any]:
    """The mosaic's collection.

    Raises :class:`~mosaic.errors.NotACatalogError` when the folder holds no mosaic.
    """
    try:
        document = orjson.loads((folder / COLLECTION).read_bytes())
    except FileNotFoundError:
        raise NotACatalogError(
            f"{folder} holds no mosaic; make one with: mosaic build SOURCE -o {folder}"
        ) from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise NotACatalogError(f"{folder / COLLECTION} can't be read ({error})") from error
    if MARK not in document:
        raise NotACatalogError(f"{folder} holds a STAC collection, but none that mosaic made")
    found: dict[str, Any] = document
    return found
