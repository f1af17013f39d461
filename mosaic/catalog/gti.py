"""GDAL tile indexes: a GeoPackage that carries its own GTI XML, and ``.gti`` files for slices.

The rules and why they hold: GDAL's GTI driver documentation, and docs/tile-indexes.md for what was
measured in GDAL 3.10 to 3.13. A file opens under its bare name; nothing is opened but itself
until pixels are read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyogrio
import shapely
from odc.geo.geobox import GeoBox

from mosaic.catalog.source import GDAL_TYPES, Band
from mosaic.catalog.vrt import geotransform, number
from mosaic.errors import CatalogError
from mosaic.grid import Floats, overview_factors
from mosaic.outline import Geometries

LAYER = "tiles"
_MANY = 10_000
"""Rows from which on a file gains by larger pages."""

GDAL_RESAMPLING = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "cubic": "cubic",
    "cubic_spline": "cubicspline",
    "lanczos": "lanczos",
    "average": "average",
    "rms": "rms",
    "mode": "mode",
}
"""rasterio's resampling names to GTI's."""
_ROWS = 1 << 16
"""Rows written at a time."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A coarse image of the whole mosaic."""

    file: str
    """File name beside the index."""
    factor: int
    """Pixels of the mosaic along a side of one of its pixels: one of the index's factors."""


@dataclass(frozen=True, slots=True)
class Index:
    """What a tile index declares, so that GDAL opens no tile to learn it."""

    asset: str
    """Key of the asset it holds."""
    grid: GeoBox
    """The mosaic's grid; width and height multiples of the largest overview factor."""
    crs: str
    """Canonical name of the mosaic's CRS."""
    bands: tuple[Band, ...]
    """Bands of every tile; nodata, scale and offset of the mosaic."""
    resampling: str
    """rasterio's name of the resampling method."""
    overview: Overview | None = None
    """A coarse image of the whole, or None."""

    @property
    def masked(self) -> bool:
        """Whether a mask tells where there are pixels, because no nodata value does.

        GDAL 3.10 reads no mask through an overview ("this band does not exist", exit 1): such an
        index declares none, and its coarse image lies unlinked beside it.
        """
        return self.bands[0].nodata is None

    @property
    def linked(self) -> Overview | None:
        """The coarse image, if it is a row of the index (the one without an item)."""
        return None if self.masked else self.overview


@dataclass(frozen=True, slots=True)
class Tiles:
    """Rows of a tile index by columns."""

    location: list[str]
    """GDAL names, absolute or relative to the index; or VRT texts."""
    geometry: Geometries
    """Footprints in the mosaic's CRS, which end within the pixels that GDAL gives each tile."""
    item: list[str]
    """Ids of the items."""
    datetime: list[str]
    """RFC 3339 UTC with milliseconds, or empty."""
    z: npt.NDArray[np.int64]
    """Drawing order: the highest lies on top."""
    crs: list[str]
    """CRS of each file (a column that GeoTools ImageMosaic reads too)."""
    res: Floats
    """(n, 2) pixel width and height of each file in its own CRS."""


HIDES_OVERVIEW = "item IS NOT NULL"
"""Filter of an index that has its coarse image for a row."""
_COARSE = '<OpenOptions><OOI key="FILTER">item IS NULL</OOI></OpenOptions>'
"""What makes an overview read the coarse image: the same index, but of that row alone.

``<Dataset>`` would name it, but GDAL 3.10 takes a relative name as one in the working directory;
locations of rows are relative to the index.
"""


def index_xml(index: Index, dataset: str = "", where: str = "") -> str:
    """The GTI XML of an index, or of a slice of it.

    ``dataset``: the GeoPackage that a ``.gti`` file points to. ``where``: SQL condition of a
    slice, which shows other scenes than the whole, and so without its coarse overview.
    """
    coarse = None if dataset else index.linked
    if coarse:
        where = HIDES_OVERVIEW
    height, width = index.grid.shape
    declared = index.bands[0].nodata
    same = all(band.same_nodata(index.bands[0]) for band in index.bands)
    parts = [
        f"<IndexDataset>{escape(dataset)}</IndexDataset>" if dataset else "",
        f"<IndexLayer>{LAYER}</IndexLayer>",
        f"<Filter>{escape(where)}</Filter>" if where else "",
        "<LocationField>location</LocationField>",
        "<SortField>z</SortField><SortFieldAsc>true</SortFieldAsc>",
        f"<SRS>{escape(index.crs)}</SRS>",
        f"<GeoTransform>{geotransform(index.grid.affine)}</GeoTransform>",
        f"<XSize>{width}</XSize><YSize>{height}</YSize>",
        f"<Resampling>{GDAL_RESAMPLING[index.resampling]}</Resampling>",
        f"<BandCount>{len(index.bands)}</BandCount>",
        "" if declared is None or not same else f"<NoDataValue>{number(declared)}</NoDataValue>",
        # without a nodata value a mask is all that tells a hole from a pixel
        "<MaskBand>true</MaskBand>" if index.masked else "",
        *(_band_xml(number_, band, index.asset) for number_, band in enumerate(index.bands, 1)),
    ]
    parts += [
        f"<Overview><Factor>{factor}</Factor>"
        f"{_COARSE if coarse and factor >= coarse.factor else ''}</Overview>"
        for factor in (() if index.masked else overview_factors(width, height))
    ]
    return (
        "<GDALTileIndexDataset>\n  "
        + "\n  ".join(part for part in parts if part)
        + "\n</GDALTileIndexDataset>\n"
    )


def _band_xml(position: int, band: Band, asset: str) -> str:
    fields = [
        f"<Description>{escape(band.name or asset)}</Description>",
        f"<Offset>{number(band.offset)}</Offset>" if band.offset else "",
        f"<Scale>{number(band.scale)}</Scale>" if band.scale != 1 else "",
        f"<NoDataValue>{number(band.nodata)}</NoDataValue>" if band.nodata is not None else "",
        f"<UnitType>{escape(band.unit)}</UnitType>" if band.unit else "",
        f"<ColorInterp>{band.color}</ColorInterp>" if band.color not in ("", "Palette") else "",
    ]
    return f'<Band band="{position}" dataType="{GDAL_TYPES[band.dtype]}">{"".join(fields)}</Band>'


def write_index(path: Path, index: Index, tiles: Tiles) -> None:
    """A self-contained ``.gti.gpkg``: footprints, locations, and the GTI XML in its metadata.

    A coarse overview is its last row. Raises :class:`~mosaic.errors.CatalogError` when it can't
    be written.
    """
    try:
        write_rows(path, index, tiles, layer_metadata={"ASSET": index.asset})
        with sqlite3.connect(path) as database:
            add_xml(database, index_xml(index))
        if len(tiles.location) > _MANY:
            # rows of 600 bytes leave less of a large page empty, and HTTP reads 16 KiB anyway
            database.execute("PRAGMA page_size = 16384")
            database.execute("VACUUM")
        database.close()
    except (pyogrio.errors.DataSourceError, sqlite3.Error, OSError, RuntimeError) as error:
        raise CatalogError(f"{path.name} can't be written: {error}") from error


def write_rows(path: Path, index: Index, tiles: Tiles, **options: Any) -> None:
    """Rows of tiles, by pyogrio; ``options``: others of its own."""
    pyogrio.write_arrow(
        pa.RecordBatchReader.from_batches(SCHEMA, _batches(index, tiles)),
        path,
        driver="GPKG",
        layer=LAYER,
        geometry_name="geom",
        geometry_type="Polygon",
        crs=index.crs,
        **options,
    )


SCHEMA = pa.schema(
    {
        "location": pa.string(),
        "item": pa.string(),
        "datetime": pa.string(),
        "z": pa.int64(),
        "crs": pa.string(),
        "resX": pa.float64(),
        "resY": pa.float64(),
        "geom": pa.binary(),
    }
)


def _batches(index: Index, tiles: Tiles) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(tiles.location), _ROWS):
        part = slice(start, start + _ROWS)
        columns = [
            tiles.location[part],
            tiles.item[part],
            tiles.datetime[part],
            tiles.z[part],
            tiles.crs[part],
            tiles.res[part, 0],
            tiles.res[part, 1],
            shapely.to_wkb(tiles.geometry[part]),
        ]
        yield pa.record_batch(columns, schema=SCHEMA)
    if index.linked:
        whole = shapely.to_wkb(_whole(index, index.linked.factor))
        row = dict.fromkeys(SCHEMA.names) | {
            "location": index.linked.file,
            "geom": whole,
        }
        yield pa.RecordBatch.from_pylist([row], schema=SCHEMA)


def _whole(index: Index, factor: int) -> shapely.Geometry:
    """The mosaic's extent, and two pixels of its overview around it."""
    a = index.grid.affine
    margin = 2 * factor * max(a.a, -a.e)
    return shapely.box(*index.grid.boundingbox.bbox).buffer(margin, join_style="mitre")


def add_xml(database: sqlite3.Connection, xml: str) -> None:
    """The GTI XML as the ``xml:GTI`` domain of the layer's metadata, as GDAL keeps it."""
    text = (
        f'<GDALMultiDomainMetadata><Metadata domain="xml:GTI" format="xml">{xml}</Metadata>'
        "</GDALMultiDomainMetadata>"
    )
    row = database.execute(
        "SELECT md_file_id FROM gpkg_metadata_reference "
        "WHERE reference_scope = 'table' AND table_name = ?",
        (LAYER,),
    ).fetchone()
    database.execute(
        "UPDATE gpkg_metadata SET metadata = ?, md_standard_uri = 'http://gdal.org' WHERE id = ?",
        (text, row[0]),
    )


def read_xml(path: Path) -> str:
    """The GTI XML that a ``.gti.gpkg`` carries.

    Raises :class:`~mosaic.errors.CatalogError` when it carries none.
    """
    with sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True) as database:
        text = xml_of(database)
    database.close()
    if not text:
        raise CatalogError(f"{path} carries no GTI XML")
    return text


def xml_of(database: sqlite3.Connection) -> str:
    """The GTI XML of an open GeoPackage, whole or not; empty when there is none.

    SQLite reads it, not GDAL, which removes a side file when it closes what it opened.
    """
    found = database.execute("SELECT metadata FROM gpkg_metadata WHERE metadata LIKE '%xml:GTI%'")
    text = str((found.fetchone() or [""])[0])
    start, end = text.find("<GDALTileIndexDataset"), text.rfind("</Metadata>")
    return text[start:end].partition("</Metadata>")[0] if 0 <= start <= end else ""
