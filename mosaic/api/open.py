"""A mosaic as lazy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from mosaic.cube.odc import Driver
    from mosaic.storage import Gate


def open(  # noqa: A001 - the verb
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    like: Any = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    groupby: str | Callable[[dict[str, Any]], Any] | None = "auto",
    resampling: str | Mapping[str, str] | None = None,
    dtype: Any = None,
    method: str | Callable[[xr.Dataset], xr.Dataset] = "first",
    over: str | None = "auto",
    best: str | None = None,
    mask: Mapping[str, Any] | None = None,
    mask_dilate: int = 0,
    errors: str = "raise",
    chunks: Any = None,
    raw: bool = False,
    where: str | None = None,
    gate: Gate | None = None,
    via: str | None = None,
) -> xr.Dataset:
    """A mosaic as a lazy dataset, one variable a band, each (time, y, x), as odc.stac.load's.

    In EPSG:4326 too the axes are called y and x; y falls, coordinates are middles of pixels.

    ``source``, ``bbox``, ``crs``, ``resolution``, ``geobox``, ``bands``, ``datetime``, ``raw``,
    ``where``, ``gate`` and ``via`` are those of :func:`read`; ``like``: a GeoBox, or
    a dataset whose grid is taken. ``groupby``: which items share a layer of time: ``time`` (those
    of one instant), ``solar_day``, ``day``, ``week``, ``month``, ``season``, ``year`` (of UTC, and
    told by their beginning), ``id`` (each its own; also None), ``all`` (one layer of
    everything, as the tile indexes show it), a property's name, or a function of an item's id and
    properties; layers without an item near the grid don't appear; ``auto``: ``time``, or ``all``
    for methods that reduce and with ``best``. ``resampling``, ``dtype``: a
    name, or a mapping from band to name with ``*`` for the others; numbers are rounded, and kept
    within the type's ends. ``chunks``: as xarray has them, for dask arrays; {} is 1 x 2048 x 2048.

    ``method``: what a layer shows where several scenes of it have data: ``first``, the topmost by
    the mosaic's order, or ``last``; or what is made of them: ``min``, ``max``, ``mean``,
    ``median``, ``std``, ``count``, ``percentile:90``, ``medoid`` (the one nearest to all others, in
    all bands of the dataset; scales weigh them), or a function, which gets a Dataset of a block
    (time, y, x), floating point with NaN, with ids and properties of each time's items in
    ``attrs["items"]``, and gives one (y, x) of the same bands: pixel by pixel, as it sees blocks of
    any size. ``over``: which items of a layer make up one observation first, the topmost showing:
    as ``groupby``; ``auto``: ``solar_day``, so that tiles which overlap count once, and ``id`` in
    layers of a day or less. ``best``: with ``first``, a property (``eo:cloud_cover``) by which
    scenes lie on each other, or a band whose least number picks a pixel's observation in all
    bands; ``-`` before it: the greatest. ``mask``: by band which pixels are hidden: numbers, or
    names of classes (SCL) and bits (QA_PIXEL of Landsat, Fmask of HLS; ``bit:3`` of any). It is
    read by nearest neighbour, scene by scene, before any scene is laid on another; where it has no
    data nothing shows. ``mask_dilate``: pixels of the grid by which what is hidden grows.

    Numbers are those that the bands declare; nodata and what is hidden never count. ``mean``,
    ``median``, ``std``, percentiles and functions give float32 (float64 for integers of 32 bits or
    more, and float64) with NaN, ``count`` uint16, the others the band's own type and nodata; unless
    ``dtype`` tells.

    Nothing is read until numbers are asked for, and then what they need. A step reads a coarser
    grid whose pixels have their middles where the stepped ones have theirs, so that overviews
    serve. ``ds.load()`` and ``ds.compute()`` read all bands together, ``ds.mosaic.plan()`` tells
    what that will take. Pixels without data have the number of the attribute ``nodata``.

    Raises what :func:`read` raises, reading errors when numbers are asked for, and then
    :class:`~mosaic.errors.CompositeError` for a function that fails. With
    ``errors="ignore"`` there is a variable more for each band: ``B04_covered`` tells where all
    that could show was read, and ``ds.mosaic.report()`` what wasn't.
    """
    from mosaic.cube.opening import open_cube

    return open_cube(
        source,
        bbox=bbox,
        crs=crs,
        resolution=resolution,
        geobox=geobox,
        like=like,
        bands=bands,
        datetime=datetime,
        groupby=groupby,
        resampling=resampling,
        dtype=dtype,
        method=method,
        over=over,
        best=best,
        mask=mask,
        mask_dilate=mask_dilate,
        errors=errors,
        chunks=chunks,
        raw=raw,
        where=where,
        gate=gate,
        via=via,
    )


def open_tree(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    groupby: str | Callable[[dict[str, Any]], Any] | None = "id",
    errors: str = "raise",
    chunks: Any = None,
    raw: bool = True,
    gate: Gate | None = None,
    via: str | None = None,
) -> xr.DataTree:
    """The native pixels of each CRS and grid beside the lazy mosaic; nothing is read.

    ``mosaic`` is what :func:`open` gives. Each other node holds the scenes that share a CRS and a
    lattice of pixels, over all of their extent: ``EPSG_32632/10m`` has (time, y, x) arrays of the
    bands that are stored so, never warped. ``groupby``: as in :func:`open`; by default each item is
    a layer of its own, since scenes of one zone overlap. ``raw``: the files' own numbers, equal to
    what rasterio reads; False: as :func:`open` has them. ``bbox``: west, south, east, north in
    degrees, to which nodes are cut at their own pixels. Others are those of :func:`open`.

    Raises what :func:`open` raises.
    """
    from mosaic.cube.tree import open_tree as opened

    return opened(
        source,
        bbox=bbox,
        bands=bands,
        datetime=datetime,
        groupby=groupby,
        errors=errors,
        chunks=chunks,
        raw=raw,
        gate=gate,
        via=via,
    )


def odc_driver(*, gate: Gate | None = None, via: str | None = None) -> Driver:
    """A driver for ``odc.stac.load(items, driver=mosaic.odc_driver())``, eager or with dask.

    Files are read through ``gate``, or the gateway ``via``, as :func:`read` reads them; each pixel
    lies where PROJ puts it. What of a file shows is for it to say: CRS, place and nodata are the
    file's own, scale and offset aren't applied, masks count. Raises
    :class:`~mosaic.errors.UsageError` where odc-loader isn't installed, and in the load what
    reading raises.
    """
    from mosaic.cube.odc import driver

    return driver(gate, via)
