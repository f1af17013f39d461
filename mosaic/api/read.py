"""A window of a mosaic, now, and what that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from mosaic.cube.scripts import Reading
    from mosaic.engine.plan import Plan
    from mosaic.storage import Gate


def read(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    resampling: str | None = None,
    method: str | Callable[[xr.Dataset], xr.Dataset] = "first",
    over: str | None = "auto",
    best: str | None = None,
    mask: Mapping[str, Any] | None = None,
    mask_dilate: int = 0,
    errors: str = "raise",
    raw: bool = False,
    where: str | None = None,
    gate: Gate | None = None,
    via: str | None = None,
) -> Reading:
    """A window of a mosaic: ``values, valid = mosaic.read(...)``, each (bands, y, x).

    ``source``: a built mosaic's folder or URL; or STAC items, which needn't be built first:
    pystac's Item, ItemCollection or Catalog, a search of pystac_client, dicts, lists of these, a
    path or URL of JSON, NDJSON or stac-geoparquet. ``bbox``: west, south, east, north in degrees
    (east < west crosses 180); ``crs`` and ``resolution`` (pixel size, or width and height, in its
    units) default to the mosaic's, whose own pixels are then kept, for items to those that a build
    would choose; or all of this as a ``geobox``. ``bands``: assets or bands, by name; all by
    default. ``datetime``: an instant, ``2025-06``, or an interval ``a/b``. ``resampling``:
    rasterio's name; the mosaic's by default. ``raw``: the files' own numbers; else those that the
    mosaic's indexes declare. ``where``: an SQL condition on items, as for :func:`query`.
    ``gate``: through which files are read;
    ``via``: the URL of a gateway (``mosaic serve``) that reads them instead, under one budget for
    all its clients.

    The newest scene (by the mosaic's order) lies on top, lower ones show through its gaps; or
    ``method``, ``over``, ``best``, ``mask`` and ``mask_dilate`` say otherwise, as in
    :func:`open` with ``groupby="all"``. Raises
    :class:`~mosaic.errors.ReadError` naming item, asset and file for what can't be read; with
    ``errors="ignore"`` it is listed in the result's ``problems``, and ``covered`` tells where
    nothing is missing. Raises :class:`~mosaic.errors.InputError` for items that can't be indexed,
    :class:`~mosaic.errors.SourceMismatchError` for a file that lies
    elsewhere than its item says, :class:`~mosaic.errors.CatalogError` for a mosaic that can't be
    read, :class:`~mosaic.errors.UsageError` for an argument that can't be meant.
    """
    from mosaic.cube.scripts import read as reading

    return reading(
        source,
        datetime=datetime,
        resampling=resampling,
        method=method,
        over=over,
        best=best,
        mask=mask,
        dilate=mask_dilate,
        errors=errors,
        raw=raw,
        gate=gate,
        via=via,
        place={
            "where": where,
            "bbox": bbox,
            "geobox": geobox,
            "crs": crs,
            "resolution": resolution,
            "bands": bands,
        },
    )


def plan(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    resampling: str | None = None,
    method: str | Callable[[xr.Dataset], xr.Dataset] = "first",
    over: str | None = "auto",
    best: str | None = None,
    mask: Mapping[str, Any] | None = None,
    mask_dilate: int = 0,
    errors: str = "raise",
    raw: bool = False,
    where: str | None = None,
    gate: Gate | None = None,
    via: str | None = None,
) -> Plan:
    """What :func:`read` will ask of storage, given the same: items, requests, bytes, least time.

    The headers of the files are read for that, nothing is decoded. Exact where nothing depends on
    pixels, else from least to most: holes in one scene show what lies below. ``print`` it; it has
    ``to_dataframe()``, a row for each scene, and ``plot()``. What can't be read raises as in
    :func:`read`; with ``errors="ignore"`` it is in ``problems``, and isn't counted. Of a composite
    it tells what all of its scenes and masks take, at once: blocks of which nothing shows aren't
    read in the end, margins of masks and the edges of its own blocks are.
    """
    from mosaic.cube.scripts import plan as planned

    return planned(
        source,
        datetime=datetime,
        resampling=resampling,
        method=method,
        over=over,
        best=best,
        mask=mask,
        dilate=mask_dilate,
        errors=errors,
        raw=raw,
        gate=gate,
        via=via,
        place={
            "where": where,
            "bbox": bbox,
            "geobox": geobox,
            "crs": crs,
            "resolution": resolution,
            "bands": bands,
        },
    )
