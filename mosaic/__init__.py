"""Virtual mosaics: scenes in many CRSs, one index that GDAL, QGIS, R and Python read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mosaic.version import __version__

__all__ = [
    "Gate",
    "__version__",
    "build",
    "check",
    "doors",
    "env",
    "export",
    "finder",
    "info",
    "odc_driver",
    "open",
    "open_tree",
    "plan",
    "preview",
    "query",
    "read",
    "relocate",
    "search",
    "stats",
    "update",
]

if TYPE_CHECKING:
    import pyarrow as pa
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from mosaic.builder.report import Report, Updated
    from mosaic.builder.search import Search
    from mosaic.catalog.finder import Finder
    from mosaic.checker.findings import CheckReport
    from mosaic.cube.odc import Driver
    from mosaic.cube.preview import Preview
    from mosaic.cube.scripts import Reading
    from mosaic.engine.plan import Plan
    from mosaic.exporter.report import Exported
    from mosaic.storage import Gate as Gate
    from mosaic.storage import Stats


def build(
    source: Any,
    out: str | os.PathLike[str],
    *,
    dst_crs: str = "auto",
    res: float | Sequence[float] | None = None,
    bbox: Sequence[float] | None = None,
    bands: Sequence[str] | None = None,
    resampling: str | Mapping[str, str] | None = None,
    sort: str | None = None,
    slices: str = "none",
    stacks: Sequence[Sequence[str]] = (),
    overview: float | None = None,
    nodata: float | None = None,
    dtype: str | None = None,
    item_files: int = 1000,
    raw: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    verify: bool = False,
    recipe: str | os.PathLike[str] | None = None,
    collections: str | Sequence[str] | None = None,
    ids: str | Sequence[str] | None = None,
    intersects: Any = None,
    datetime: Any = None,
    query: str | Sequence[str] | Mapping[str, Any] | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002 - pystac-client's name
    sortby: str | Sequence[str] | None = None,
    max_items: int | None = None,
) -> Report:
    """Builds a mosaic: a folder with a STAC catalog, ``items.parquet`` and GDAL tile indexes.

    ``source``: raster files, folders, globs, STAC documents or items as dicts;
    ``stac+https://…`` (a STAC API), a recipe's name, or what :func:`search` gives; one or a
    list. ``out``: the folder, or a schema of PostGIS (``postgresql://host/db?schema=name``,
    without a password), which appears whole or not at all. ``dst_crs``: ``auto``, ``utm``
    or a CRS. ``res``: pixel size, or (width, height), in its units. ``bbox``: west, south,
    east, north in degrees. ``bands``: asset keys, band names or common names. ``resampling``:
    rasterio's name (``nearest``), or a mapping from asset to name with ``*`` for the others.
    ``sort``: a property; the first in its order lies on top (``-datetime``: the newest).
    ``slices``: ``none``, ``day``, ``month`` or ``year``. ``stacks``: lists of single-band
    assets. ``overview``: pixel size, in units of the CRS, of a coarse image of the whole for
    each asset. ``nodata``, ``dtype``: for sources that declare none. ``item_files``: most items
    of which each is also written as a JSON file. ``raw``: the files' own numbers, with no scale
    and offset. ``skip_bad``: leave out, and report, what can't be indexed. ``verify``: read
    every header and believe it. ``recipe``: what is known of the items' collection, by name or
    file; it says what is left out here, and what the items leave unsaid. ``collections`` and
    the following: what is asked of an API, as in :func:`search`.

    Raises :class:`~mosaic.errors.InputError` with a problem for each item that can't be
    indexed, :class:`~mosaic.errors.CatalogError` when the folder can't be written,
    :class:`~mosaic.errors.SearchError` when an API can't be searched,
    :class:`~mosaic.errors.DatabaseError` for a database that can't be reached or written,
    :class:`~mosaic.errors.UsageError` for an argument that can't be meant. Then nothing has
    changed.
    """
    from mosaic.builder.home import make
    from mosaic.builder.options import options
    from mosaic.builder.search import Search, recipe_of
    from mosaic.searcher.request import flags

    is_one = isinstance(source, str | os.PathLike | dict | Search)
    sources = [source] if is_one else list(source)
    chosen = options(
        dst_crs=dst_crs,
        res=res,
        bbox=bbox,
        bands=bands,
        resampling=resampling,
        sort=sort,
        slices=slices,
        stacks=stacks,
        overview=overview,
        nodata=nodata,
        dtype=dtype,
        item_files=item_files,
        raw=raw,
        skip_bad=skip_bad,
        verify=verify,
        overwrite=overwrite,
        recipe=recipe_of(sources, os.fspath(recipe) if recipe else None),
        search=flags(
            collections=collections,
            ids=ids,
            intersects=intersects,
            datetime=datetime,
            query=query,
            filter=filter,
            sortby=sortby,
            max_items=max_items,
        ),
    )
    return make(sources, out, chosen)


def check(
    folder: str | os.PathLike[str],
    *,
    all: bool = False,  # noqa: A002 - the option's name
    sample: int = 50,
    schemas: str | os.PathLike[str] | None = None,
    offline: bool = False,
    drift: str | os.PathLike[str] | None = None,
    gate: Gate | None = None,
) -> CheckReport:
    """Whether a mosaic is whole and true: its STAC, its tile indexes, its scenes.

    ``all``: look at every item, file and header, not at ``sample`` of them. ``schemas``: a
    folder of JSON schemas; without one, extensions' schemas come from the user's cache
    (``$XDG_CACHE_HOME/mosaic/schemas``), where they are put when there is a network.
    ``offline``: ask no network for anything. ``drift``: a file in which size, validators and
    header of the scenes are noted when they are first looked at, and from then on compared.
    ``gate``: through which remote files are asked for.

    Nothing is raised for what is wrong: it is in the report, and ``report.raise_for_errors()``
    raises it. Raises :class:`~mosaic.errors.CatalogError` when the folder holds no mosaic,
    :class:`~mosaic.errors.UsageError` for an argument that can't be meant.
    """
    from mosaic.checker.run import check as checked

    return checked(
        folder,
        all=all,
        sample=sample,
        schemas=schemas,
        offline=offline,
        drift=drift,
        gate=gate,
    )


def doors(source: str, folder: str | os.PathLike[str]) -> list[str]:
    """Writes the files by which GDAL and QGIS open a mosaic in PostGIS; returns their paths.

    ``source``: its URL, ``postgresql://host/db?schema=name``. The files name the database as the
    URL does (host, service, user), and never a password: libpq finds it in ``~/.pgpass`` or in a
    service file. Raises :class:`~mosaic.errors.NotACatalogError` where there is no mosaic,
    :class:`~mosaic.errors.DatabaseError` for a database that can't be read,
    :class:`~mosaic.errors.UsageError` for another source.
    """
    from mosaic.builder.doors import write_doors

    return write_doors(source, folder)


def env(source: str | os.PathLike[str], format: str = "sh") -> str:  # noqa: A002 - the option
    """What GDAL has to be told to open a mosaic's scenes, as text; never a secret.

    ``format``: ``sh`` for a shell, ``gdal`` for a file that ``GDAL_CONFIG_FILE`` names, ``qgis``
    for its Python console, ``r``. Raises :class:`~mosaic.errors.CatalogError` for a mosaic that
    can't be read, :class:`~mosaic.errors.UsageError` for another format.
    """
    from mosaic.catalog.environment import FORMATS, origins, roots
    from mosaic.catalog.folder import Folder
    from mosaic.catalog.layout import ITEMS
    from mosaic.errors import UsageError
    from mosaic.storage import default_gate

    if format not in FORMATS:
        raise UsageError(f"--format {format}: one of {', '.join(FORMATS)}")
    folder = Folder.at(source, default_gate())
    document = folder.collection()
    columns = folder.columns(ITEMS)
    found = roots(columns, columns.fields("assets"))
    return FORMATS[format](origins(found, document.get("mosaic:signing", "none")))


def export(
    source: Any,
    out: str | os.PathLike[str],
    *,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    resolution: float | Sequence[float] | None = None,
    geobox: GeoBox | None = None,
    like: Any = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    groupby: str | Callable[[dict[str, Any]], Any] | None = "all",
    resampling: str | Mapping[str, str] | None = None,
    dtype: Any = None,
    method: str | Callable[[xr.Dataset], xr.Dataset] = "first",
    over: str | None = "auto",
    best: str | None = None,
    mask: Mapping[str, Any] | None = None,
    mask_dilate: int = 0,
    raw: bool = False,
    where: str | None = None,
    gate: Gate | None = None,
    via: str | None = None,
    compress: str | None = None,
    level: int | None = None,
    blocksize: int = 512,
    overview_resampling: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes a mosaic's pixels to one file: ``out.tif``, a COG, or ``out.zarr``, a Zarr v3 store.

    ``source`` and what follows up to ``via`` are those of :func:`open`, and so are the numbers;
    ``groupby`` is ``all``, one layer as the tile indexes show it. A COG holds one layer, its bands
    are of one type; a Zarr store has an array (time, y, x) a band, in shards. ``compress``:
    ``deflate`` (the default), ``zstd``, ``lzw`` or ``none`` for a COG, ``zstd`` (the default),
    ``gzip`` or ``none`` for Zarr; ``level``: how hard it tries. ``blocksize``: pixels a side of a
    tile, or of an inner chunk. ``overview_resampling``: how a COG's overviews are made;
    ``nearest`` or ``average`` by the bands' own. Where no scene is, a band without nodata has 0;
    ``dtype="float32"`` makes that NaN. ``overwrite``: replace what is there, and what
    was begun otherwise.

    It is written window by window in bounded memory, read back, and then appears whole. What was
    interrupted, by whatever, goes on when the same is asked for again. Where a client of
    dask.distributed is present, its workers write the shards of a Zarr store.

    Raises what :func:`open` and reading raise, :class:`~mosaic.errors.ExportExistsError` for a
    target that is there, :class:`~mosaic.errors.UnfinishedError` where something else was begun,
    :class:`~mosaic.errors.ExportError` for what can't be written or isn't as it was read.
    """
    from mosaic.exporter.run import export as exported

    return exported(
        source,
        out,
        compress=compress,
        level=level,
        blocksize=blocksize,
        overview_resampling=overview_resampling,
        overwrite=overwrite,
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
        raw=raw,
        where=where,
        gate=gate,
        via=via,
    )


def finder(source: str | os.PathLike[str], *, gate: Gate | None = None) -> Finder:
    """A mosaic's items in memory, to be asked often: ``finder.find(bbox, "2025-06")``.

    ``source``: a built mosaic's folder or URL. A million items take two seconds once, and then far
    less than a millisecond a question. Raises :class:`~mosaic.errors.CatalogError` for a mosaic
    that can't be read.
    """
    from mosaic.catalog.finder import Finder
    from mosaic.catalog.folder import Folder
    from mosaic.catalog.layout import ITEMS
    from mosaic.storage import default_gate

    folder = Folder.at(source, gate or default_gate())
    folder.collection()
    return Finder.of(folder.columns(ITEMS))


def info(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a mosaic's folder holds, as JSON-ready values.

    Raises :class:`~mosaic.errors.NotACatalogError` when it holds no mosaic.
    """
    from mosaic.builder.info import describe

    return describe(folder)


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


def preview(
    source: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    size: int = 1200,
    bbox: Sequence[float] | None = None,
    bands: Sequence[str] | str | None = None,
    datetime: Any = None,
    gate: Gate | None = None,
    via: str | None = None,
) -> Preview:
    """A picture of a mosaic, in its CRS: its pixels over footprints coloured by CRS.

    ``source``, ``bbox``, ``datetime``, ``gate`` and ``via`` are those of :func:`read`. ``out``: the
    PNG to write, if any; the result has ``figure`` and ``save(path)``. ``size``: pixels of its
    longer side. ``bands``: one, or three as red, green and blue, stretched together; by default
    those that items tell to be so, else a stack of three, else the first band.

    However large the mosaic, 384 files and 64 MB are read at most: overviews of the scenes that lie
    on top, then of what lies below; ``drawn`` of the result's ``items`` have their pixels in
    it, the others are outlines. A mosaic's coarse image of the whole (``overview`` of
    :func:`build`) is read instead where it is fine enough. Raises what :func:`read` raises, and
    :class:`~mosaic.errors.CatalogError` where the picture can't be written.
    """
    from mosaic.cube.preview import preview as previewed
    from mosaic.cube.preview import target_file

    path = target_file(out) if out is not None else None
    found = previewed(
        source, size=size, bbox=bbox, bands=bands, datetime=datetime, gate=gate, via=via
    )
    if path is not None:
        found.save(path)
    return found


def query(source: str | os.PathLike[str], sql: str, *, gate: Gate | None = None) -> pa.Table:
    """What SQL finds in a mosaic's items: ``mosaic.query(folder, "select id from items")``.

    ``source``: a built mosaic's folder or URL. The table is ``items``, its columns those of
    ``items.parquet``, times in UTC without a zone, and ``xmin``, ``ymin``, ``xmax``, ``ymax`` in
    degrees. DuckDB answers, in a database that reaches nothing else. What follows WHERE makes a
    mosaic of the same items: ``mosaic.open(folder, where="...")``.

    Raises :class:`~mosaic.errors.UsageError` for SQL that can't be meant, and names the columns,
    :class:`~mosaic.errors.CatalogError` for a mosaic that can't be read.
    """
    from mosaic.catalog import sql as items
    from mosaic.catalog.folder import Folder
    from mosaic.catalog.layout import ITEMS
    from mosaic.storage import default_gate

    folder = Folder.at(source, gate or default_gate())
    folder.collection()
    return items.query(folder.columns(ITEMS), sql)


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


def relocate(folder: str | os.PathLike[str], base: str | None = None) -> list[str]:
    """Rewrites the absolute paths in a mosaic (its time slices) after its folder moved.

    ``base``: folder or URL from which it will be read; by default where it lies. Returns the
    files rewritten. Raises :class:`~mosaic.errors.NotACatalogError` when it holds no mosaic.
    """
    from mosaic.builder.info import relocate as rewrite

    return rewrite(folder, base)


def search(
    source: str,
    *,
    collections: str | Sequence[str] | None = None,
    ids: str | Sequence[str] | None = None,
    bbox: Sequence[float] | None = None,
    intersects: Any = None,
    datetime: Any = None,
    query: str | Sequence[str] | Mapping[str, Any] | None = None,
    filter: str | Mapping[str, Any] | None = None,  # noqa: A002 - pystac-client's name
    sortby: str | Sequence[str] | None = None,
    max_items: int | None = None,
    limit: int = 100,
    method: str | None = None,
) -> Search:
    """A search of a STAC API: ``mosaic.build(mosaic.search(...), out)``. Nobody is asked yet.

    ``source``: the API's root (``https://…``), a static catalog's, or a recipe. The others as in
    pystac-client; ``bbox``: west, south, east, north in degrees (east < west crosses 180).
    ``limit``: items a page. Iterate over the search for items as dicts, each once, or
    ``save(path)`` them; building and saving go on where an earlier attempt was interrupted.

    Raises :class:`~mosaic.errors.UsageError` for an argument that can't be meant; whoever makes the
    search gets :class:`~mosaic.errors.SearchError` when the API can't be searched.
    """
    from mosaic.builder.search import search as asked
    from mosaic.searcher.request import flags

    return asked(
        source,
        flags(
            collections=collections,
            ids=ids,
            bbox=bbox,
            intersects=intersects,
            datetime=datetime,
            query=query,
            filter=filter,
            sortby=sortby,
            max_items=max_items,
            limit=limit,
            method=method,
        ),
    )


def stats() -> Stats:
    """What this process asked of storage so far, per origin; reads well in a notebook."""
    from mosaic.storage import stats as told

    return told()


def update(
    folder: str | os.PathLike[str],
    source: Any = (),
    *,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    recipe: str | os.PathLike[str] | None = None,
    skip_bad: bool = False,
) -> Updated:
    """Brings a mosaic up to date: adds, replaces and drops items, and writes only what changes.

    ``source``: what has the items now, as for :func:`build`; by default the searches that the
    mosaic was built from are made again. An item that the mosaic has is replaced if its
    ``updated`` is later, or, where none is told, if it differs. ``drop``: ids of items that go,
    even if the sources have them; ``drop_missing``: all that the sources don't have any more.
    ``recipe``: file of the recipe that it was built with, if that doesn't travel with the package.
    ``skip_bad``: as for :func:`build`.

    What the build chose stays: CRS, pixels, bands, resampling, order, slices, stacks. The grid
    grows as it has to. Readers see the old mosaic or the new one; a second update at the same time
    raises :class:`~mosaic.errors.CatalogError`. Raises :class:`~mosaic.errors.InputError` for items
    that don't fit, such as those of another collection, :class:`~mosaic.errors.UsageError` for a
    mosaic that has to be built anew. Then nothing has changed.
    """
    from mosaic.builder.search import Search
    from mosaic.builder.update import update as updated

    is_one = isinstance(source, str | os.PathLike | dict | Search)
    return updated(
        folder,
        [source] if is_one else list(source),
        drop=list(drop),
        drop_missing=drop_missing,
        recipe=os.fspath(recipe) if recipe else None,
        skip_bad=skip_bad,
    )


def __getattr__(name: str) -> Any:
    if name == "Gate":  # imported when first used, so that `import mosaic` stays light
        from mosaic.storage import Gate

        return Gate
    raise AttributeError(f"module 'mosaic' has no attribute {name!r}")
