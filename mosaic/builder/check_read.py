"""A tile index as it lies on disk: what it declares, and its rows. Reading alone, no judging."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely

from mosaic.catalog.gti import LAYER, read_xml
from mosaic.errors import CatalogError
from mosaic.outline import Geometries


@dataclass(frozen=True, slots=True)
class Declared:
    """What a GTI XML, or a VRT, declares; None or empty where it says nothing."""

    crs: str
    """Text of the CRS."""
    transform: tuple[float, ...] | None
    """Affine a, b, c, d, e, f."""
    shape: tuple[int, int] | None
    """Height and width in pixels."""
    band_count: int | None
    """Number of bands that is declared."""
    dtypes: tuple[str, ...]
    """GDAL's name of each band's data type, empty where none is given."""
    factors: tuple[int, ...]
    """Overview factors."""
    overviews: tuple[str, ...]
    """Files that stand in for overviews."""
    sort_field: str
    """Column by which tiles are drawn."""
    location_field: str
    """Column of the tiles' names."""
    layer: str
    """Layer of the tiles."""
    dataset: str
    """Index that a slice points to."""
    where: str
    """SQL condition of a slice."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a tile index by columns."""

    columns: tuple[str, ...]
    """Names of the columns."""
    crs: str
    """CRS of the layer, as WKT."""
    geometry: Geometries
    """Footprints."""
    wkb: npt.NDArray[np.object_]
    """The same as WKB, to find equal ones."""
    location: list[str]
    """GDAL names or VRT texts."""
    item: list[str]
    """Ids of the items."""
    datetime: list[str]
    """Times of the items, or empty."""
    z: npt.NDArray[np.int64]
    """Drawing order."""
    found_by_place: int | None
    """Rows of the spatial index, or None when there is none."""

    def __len__(self) -> int:
        return len(self.location)


def declared(text: str) -> Declared:
    """What a GTI XML declares.

    Raises :class:`~mosaic.errors.CatalogError` when it is no such XML.
    """
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise CatalogError(f"its GTI XML is broken ({error})") from error
    if root.tag != "GDALTileIndexDataset":
        raise CatalogError(f"its XML is <{root.tag}>, no GDALTileIndexDataset")
    one = {child.tag: (child.text or "").strip() for child in root}
    try:
        return Declared(
            crs=one.get("SRS", ""),
            transform=affine(one.get("GeoTransform", "")),
            shape=_shape(one.get("YSize"), one.get("XSize")),
            band_count=int(one["BandCount"]) if one.get("BandCount") else None,
            dtypes=tuple(band.get("dataType") or "" for band in root.findall("Band")),
            factors=tuple(int(factor.text or "") for factor in root.iter("Factor")),
            overviews=tuple(
                (found.text or "").strip() for found in root.findall("Overview/Dataset")
            ),
            sort_field=one.get("SortField", ""),
            location_field=one.get("LocationField", "location"),
            layer=one.get("IndexLayer", ""),
            dataset=one.get("IndexDataset", ""),
            where=one.get("Filter", ""),
        )
    except ValueError as error:
        raise CatalogError(f"its GTI XML has a number that is none ({error})") from error


def affine(text: str) -> tuple[float, ...] | None:
    """An affine a, b, c, d, e, f from GDAL's text of it; None when it is empty."""
    if not text.strip():
        return None
    c, a, b, f, d, e = (float(value) for value in text.split(","))
    return (a, b, c, d, e, f)


def _shape(height: str | None, width: str | None) -> tuple[int, int] | None:
    return (int(height), int(width)) if height and width else None


def read_index(path: Path) -> tuple[Declared, Rows]:
    """What a ``.gti.gpkg`` declares, and its rows.

    Raises :class:`~mosaic.errors.CatalogError` when it isn't there or is broken.
    """
    if not path.is_file():
        raise CatalogError("isn't there: build the mosaic again")
    try:
        by_place = _sound(path)
        text = read_xml(path)
        meta, _, wkb, columns = pyogrio.raw.read(path, layer=LAYER)
    except CatalogError as error:
        reason = str(error).replace(str(path), "").strip()
        raise CatalogError(f"{reason}: build the mosaic again") from error
    except (sqlite3.Error, pyogrio.errors.DataSourceError, OSError, RuntimeError) as error:
        reason = str(error).replace(str(path), path.name).partition("\n")[0][:160]
        raise CatalogError(f"can't be read ({reason}): build the mosaic again") from error
    except pyogrio.errors.DataLayerError as error:
        raise CatalogError(f"has no layer {LAYER}: build the mosaic again") from error
    found: dict[str, Any] = dict(zip((str(name) for name in meta["fields"]), columns, strict=True))
    lacking = {"location", "item"} - set(found)
    if lacking or wkb is None:
        names = ", ".join(sorted(lacking)) or "geom"
        raise CatalogError(f"lacks the columns {names}: build the mosaic again")
    empty = np.full(len(wkb), "", object)
    z = found.get("z", np.zeros(len(wkb), np.int64))
    return declared(text), Rows(
        columns=tuple(found),
        crs=str(meta["crs"] or ""),
        geometry=shapely.from_wkb(wkb, on_invalid="ignore"),
        wkb=wkb,
        location=[str(value or "") for value in found["location"]],
        item=[str(value or "") for value in found["item"]],
        datetime=[str(value or "") for value in found.get("datetime", empty)],
        z=np.nan_to_num(np.asarray(z, np.float64), nan=-1).astype(np.int64),
        found_by_place=by_place,
    )


def _sound(path: Path) -> int | None:
    """Looks a GeoPackage over; rows of its spatial index, or None without one."""
    with _opened(path) as database:
        said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise sqlite3.DatabaseError(said)
        name = f"rtree_{LAYER}_geom"
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
            return None
        return int(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


def counted(path: Path, where: str) -> int:
    """Rows of an index that a slice's condition picks.

    Raises :class:`~mosaic.errors.CatalogError` when the condition means nothing to SQLite.
    """
    try:
        with _opened(path) as database:
            # the condition is the slice's own, as GDAL would run it; nothing can be written
            query = f"SELECT count(*) FROM {LAYER} WHERE {where or '1'}"
            return int(database.execute(query).fetchone()[0])
    except sqlite3.Error as error:
        raise CatalogError(f"its filter {where[:80]!r} can't be run ({error})") from error


def _opened(path: Path) -> AbstractContextManager[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))
