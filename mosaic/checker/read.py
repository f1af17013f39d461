"""A tile index as it lies on disk: what it declares, and its rows. Reading alone, no judging."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import shapely

from mosaic.catalog.gti import HIDES_OVERVIEW, LAYER, xml_of
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
    encodings: tuple[tuple[float, float], ...]
    """Scale and offset of each band; 1 and 0 where none are given."""
    nodata: tuple[str, ...]
    """Nodata value of each band, so written that equal ones are equal, NaN too; or empty."""
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
    bands = root.findall("Band")
    try:
        return Declared(
            crs=one.get("SRS", ""),
            transform=affine(one.get("GeoTransform", "")),
            shape=_shape(one.get("YSize"), one.get("XSize")),
            band_count=int(one["BandCount"]) if one.get("BandCount") else None,
            dtypes=tuple(band.get("dataType") or "" for band in bands),
            encodings=tuple(
                (float(band.findtext("Scale") or 1), float(band.findtext("Offset") or 0))
                for band in bands
            ),
            nodata=tuple(plain_number(band.findtext("NoDataValue")) for band in bands),
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


def plain_number(text: object) -> str:
    """A number as Python writes it; empty for none."""
    return "" if text in (None, "") else repr(float(str(text)))


def _shape(height: str | None, width: str | None) -> tuple[int, int] | None:
    return (int(height), int(width)) if height and width else None


def read_index(path: Path) -> tuple[Declared, Rows]:
    """What a ``.gti.gpkg`` declares, and its rows.

    Raises :class:`~mosaic.errors.CatalogError` when it isn't there or is broken.
    """
    if not path.is_file():
        raise CatalogError("isn't there: build the mosaic again")
    try:
        with _opened(path) as database:
            found = declared(_xml(database))
            # a row without an item that the index itself doesn't show is its coarse overview
            hidden = f"SELECT location FROM {LAYER} WHERE item IS NULL"
            shown = found.where == HIDES_OVERVIEW
            coarse = [str(row[0]) for row in database.execute(hidden)] if shown else []
            rows = _rows(database, found.where if shown else "1")
            return replace(found, overviews=(*found.overviews, *coarse)), rows
    except CatalogError as error:
        raise CatalogError(f"{error}: build the mosaic again") from error
    except (sqlite3.Error, shapely.errors.GEOSException, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0][:160]
        raise CatalogError(f"can't be read ({reason}): build the mosaic again") from error


def _xml(database: sqlite3.Connection) -> str:
    """The GTI XML that a GeoPackage carries, if that is sound."""
    said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise CatalogError(f"is damaged ({said})")
    text = xml_of(database)
    if not text:
        raise CatalogError("carries no GTI XML")
    return text


def _rows(database: sqlite3.Connection, where: str) -> Rows:
    names = [row[1] for row in database.execute(f"PRAGMA table_info({LAYER})")]
    lacking = {"location", "item", "geom"} - set(names)
    if lacking:
        raise CatalogError(f"lacks the columns {', '.join(sorted(lacking))} in {LAYER}")
    wanted = ("geom", "location", "item", *(name for name in ("datetime", "z") if name in names))
    order = "fid" if "fid" in names else "rowid"
    query = f"SELECT {', '.join(wanted)} FROM {LAYER} WHERE {where} ORDER BY {order}"
    found = database.execute(query).fetchall()
    columns = dict(zip(wanted, zip(*found, strict=True), strict=True)) if found else {}
    wkb = np.array([_wkb(blob) for blob in columns.get("geom", ())] or [None], object)[: len(found)]
    z = [-1 if value is None else int(value) for value in columns.get("z", [0] * len(found))]
    return Rows(
        columns=tuple(names),
        crs=_crs(database),
        geometry=shapely.from_wkb(wkb),
        wkb=wkb,
        location=[str(value or "") for value in columns.get("location", ())],
        item=[str(value or "") for value in columns.get("item", ())],
        datetime=[str(value or "") for value in columns.get("datetime", [""] * len(found))],
        z=np.array(z, np.int64),
        found_by_place=_found_by_place(database, where),
    )


_ENVELOPE = (0, 32, 48, 48, 64)
"""Bytes of the envelope of a GeoPackage's geometry, by its code."""


def _wkb(blob: bytes | None) -> bytes | None:
    """The WKB in a geometry of a GeoPackage (OGC 12-128, clause 2.1.3)."""
    if not blob:
        return None
    code = blob[3] >> 1 & 7
    if blob[:2] != b"GP" or code >= len(_ENVELOPE):
        raise CatalogError("has a footprint that is no GeoPackage geometry")
    return bytes(blob[8 + _ENVELOPE[code] :])


def _crs(database: sqlite3.Connection) -> str:
    """Code or WKT of the layer's CRS, empty for none."""
    found = database.execute(
        "SELECT s.* FROM gpkg_geometry_columns AS g JOIN gpkg_spatial_ref_sys AS s "
        "ON g.srs_id = s.srs_id WHERE g.table_name = ?",
        (LAYER,),
    )
    names = [column[0] for column in found.description]
    row = dict(zip(names, found.fetchone() or (), strict=False))
    if str(row.get("organization", "")).upper() in ("EPSG", "ESRI", "OGC", "IAU_2015"):
        return f"{str(row['organization']).upper()}:{row['organization_coordsys_id']}"
    modern = row.get("definition_12_063")
    text = modern if modern and modern != "undefined" else row.get("definition")
    return str(text or "")


def _found_by_place(database: sqlite3.Connection, where: str) -> int | None:
    """Rows of the spatial index, or None without one."""
    name = f"rtree_{LAYER}_geom"
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
        return None
    query = f"SELECT count(*) FROM {name} LEFT JOIN {LAYER} AS t ON {name}.id = t.rowid"
    return int(database.execute(f"{query} WHERE {where}").fetchone()[0])


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
