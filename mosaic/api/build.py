"""Mosaics made, and brought up to date."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaic.builder.report import Report, Updated


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
