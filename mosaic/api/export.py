"""Pixels as a file of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from mosaic.exporter.report import Exported
    from mosaic.storage import Gate


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
    interrupted, by whatever, goes on when the same is asked for again, unless ``method`` is a
    function: nothing tells whether that does the same. Where a client of
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
