"""Whatever users give, opened for reading: a built mosaic, items, files of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odc.geo.geobox import GeoBox

from mosaic import bridge
from mosaic.builder.options import options
from mosaic.catalog import sql
from mosaic.catalog.opened import Opened
from mosaic.catalog.when import Interval
from mosaic.cube.built import standing
from mosaic.cube.gathered import as_assets, of_items
from mosaic.cube.items import found
from mosaic.engine.reading import degrees, pixel_size
from mosaic.errors import UsageError
from mosaic.grid import canonical
from mosaic.storage import Gate, default_gate


def opened(
    source: Any,
    *,
    gate: Gate | None = None,
    bands: Sequence[str] | None = None,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    sort: str = "-datetime",
    raw: bool = False,
    errors: str = "raise",
    where: str | None = None,
    span: Interval | None = None,
    also: Sequence[str] = (),
) -> Opened:
    """A source by columns.

    ``source``: a mosaic's folder or URL, or its ``items.parquet``, which have all they need; else
    items: pystac's Item, ItemCollection, Catalog, a search of pystac_client, dicts, lists of these,
    or a path or URL of JSON, NDJSON or stac-geoparquet; what is opened already stays as it is.
    For items ``crs``, ``resolution`` (in its units) and ``sort`` are what a build takes as
    ``dst_crs``, ``res`` and ``sort``; with ``geobox`` the grid is that. ``bands``: assets that will
    be read, by name; None for all. ``bbox``: west, south, east, north in degrees, outside which no
    item is needed, nor outside ``span`` (milliseconds). ``where``: an SQL condition on items
    (:mod:`mosaic.catalog.sql`). ``raw``: numbers as files have them. ``errors``: with
    ``ignore`` items that can't be read are left out, and told in the result's ``problems``.

    What comes back can be pickled. Raises :class:`~mosaic.errors.InputError` with a problem for
    each item that can't be indexed, :class:`~mosaic.errors.CatalogError` for a mosaic that can't be
    read, :class:`~mosaic.errors.UsageError` for an argument that can't be meant.
    """
    if errors not in ("raise", "ignore"):
        raise UsageError(f"errors={errors!r}: raise or ignore")
    if isinstance(source, Opened):
        return source
    gate = gate or default_gate()
    place = {"bbox": bbox, "geobox": geobox, "crs": crs, "resolution": resolution}
    # on the planner's thread: a fork waits for that one, and so finds none amid Arrow's work
    built = bridge.on_planner(lambda: standing(source, gate, bands, also, place, span))
    if built is not None:
        return bridge.on_planner(lambda: _chosen(built, where))
    stream = found(source, gate)
    if bands is not None:
        bands, stream = as_assets(bands, also, stream)
    if geobox is not None and geobox.crs is None:
        raise UsageError("geobox needs a CRS and pixels")
    chosen = options(
        dst_crs="auto" if crs is None or geobox is not None else canonical(str(crs)),
        res=None if resolution is None else pixel_size(resolution),
        bbox=None if bbox is None else _wrapped(bbox),
        bands=bands,
        sort=sort,
        raw=raw,
        skip_bad=errors == "ignore",
    )
    return _chosen(of_items(stream, chosen, geobox, gate), where)


def _chosen(mosaic: Opened, where: str | None) -> Opened:
    return mosaic if where is None else mosaic.only(sql.rows(mosaic.columns, where))


def _wrapped(bbox: Sequence[float]) -> list[float]:
    """A box whose longitudes lie within 180."""
    west, south, east, north = degrees(bbox)
    if east - west >= 360:
        return [-180.0, south, 180.0, north]
    west, east = ((x + 180) % 360 - 180 if abs(x) > 180 else x for x in (west, east))
    return [west, south, east, north]
