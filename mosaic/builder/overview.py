"""A coarse image of a whole mosaic, read through its index, so that zoomed-out views open no tile.

Any tile that GDAL fails to read is an error that names it. GDAL 3.10 leaves a hole in its place
(and in that of its neighbours), answers that all went well, and tells of it in its log alone.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from mosaic.catalog.gti import Index, Overview, Tiles, write_index
from mosaic.catalog.href import resolve
from mosaic.catalog.layout import overview_name
from mosaic.errors import CatalogError, InputError, Problem, UsageError
from mosaic.grid import overview_factors

LARGEST = 16384
"""Pixels a side that an overview may have: it is to be small."""

BLOCK = 1024
"""Pixels a side that are read at once."""

_SHRINK = {"nearest": "NEAREST", "mode": "MODE", "rms": "RMS"}
"""Resampling methods that go on inside the COG; the others become averages."""


def overview_factor(grid: GeoBox, size: float) -> int:
    """The power of two by which a mosaic is shrunk so that its pixels are about ``size``.

    ``size``: in units of the mosaic's CRS. The factor is one of the index's own, so that grids
    share every edge; 0 where the mosaic is too small to have any. Raises
    :class:`~mosaic.errors.UsageError` when the overview would be finer than the mosaic, or larger
    than 16,384 pixels a side.
    """
    height, width = grid.shape
    pixel = max(grid.affine.a, -grid.affine.e)
    if size < pixel:
        raise UsageError(f"--overview {size:g} is finer than the mosaic's own pixel, {pixel:g}")
    factors = overview_factors(width, height)
    if not factors:
        return 0
    factor = min(factors, key=lambda one: abs(math.log2(one * pixel / size)))
    if max(width, height) / factor > LARGEST:
        small = (one for one in factors if max(width, height) / one <= LARGEST)
        least = next(small, factors[-1])
        raise UsageError(
            f"--overview {size:g} makes {width // factor} x {height // factor} pixels, more than "
            f"{LARGEST} a side: give {least * pixel:g} or more"
        )
    return factor


def write_overview(
    folder: Path,
    index: Index,
    tiles: Tiles,
    factor: int,
    progress: Callable[[str, int], None],
) -> Overview:
    """Writes a COG of the whole mosaic, shrunk by a factor of its index, into ``folder``.

    ``tiles``: rows whose locations are absolute, because the scenes' final places relative to the
    index are not there yet. Raises :class:`~mosaic.errors.InputError` that names the tiles which
    can't be read, :class:`~mosaic.errors.CatalogError` when the image can't be written.
    """
    name = overview_name(index.asset)
    scratch, raw = folder / ".overview.gti.gpkg", folder / ".overview.tif"
    height, width = (size // factor for size in index.grid.shape)
    grid = GeoBox((height, width), index.grid.affine @ Affine.scale(factor), index.grid.crs)
    # read at its own resolution: through an overview GDAL 3.10 can't read a mask
    write_index(scratch, replace(index, grid=grid), tiles)
    heard = _Ear()
    try:
        # GTI's threads would tell their errors to nobody
        with heard, rasterio.Env(GTI_NUM_THREADS="1"), rasterio.open(scratch) as source:
            _copy(source, raw, index, tiles, factor, progress)
            rasterio.shutil.copy(
                raw,
                folder / name,
                driver="COG",
                BLOCKSIZE="512",
                COMPRESS="DEFLATE",
                PREDICTOR="YES",
                OVERVIEW_RESAMPLING=_SHRINK.get(index.resampling, "AVERAGE"),
            )
    except RasterioError as error:
        heard.said.append(_told(error))
    finally:
        scratch.unlink(missing_ok=True)
        raw.unlink(missing_ok=True)
    if heard.said:
        raise CatalogError(f"{name} can't be written: {heard.said[0]}")
    return Overview(name, factor)


def _copy(
    source: Any,
    path: Path,
    index: Index,
    tiles: Tiles,
    factor: int,
    progress: Callable[[str, int], None],
) -> None:
    """The pixels of ``source``, an index of the coarse grid, as a GeoTIFF, block by block."""
    profile = {
        "driver": "GTiff",
        "width": source.width,
        "height": source.height,
        "count": source.count,
        "dtype": np.result_type(*source.dtypes),
        "crs": source.crs,
        "transform": source.transform,
        "nodata": index.bands[0].nodata,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "sparse_ok": True,
        "bigtiff": "if_safer",
    }
    boxes = shapely.bounds(tiles.geometry)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as out:
        out.descriptions = source.descriptions
        out.scales, out.offsets, out.units = source.scales, source.offsets, source.units
        if ColorInterp.undefined not in source.colorinterp:
            out.colorinterp = source.colorinterp
        for done, block in enumerate(_blocks(source.height, source.width), 1):
            left, top = source.transform @ (block.col_off, block.row_off)
            right, bottom = source.transform @ (
                block.col_off + block.width,
                block.row_off + block.height,
            )
            near = np.flatnonzero(
                (boxes[:, 0] < right)
                & (boxes[:, 2] > left)
                & (boxes[:, 1] < top)
                & (boxes[:, 3] > bottom)
            )
            if len(near):
                with _refusing(tiles, near, index, factor):
                    values = source.read(window=block)
                    mask = source.dataset_mask(window=block) if index.masked else None
                out.write(values, window=block)
                if mask is not None:
                    out.write_mask(mask, window=block)
            progress(f"overview of {index.asset}", done)


def _blocks(height: int, width: int) -> Iterator[Window]:
    for row in range(0, height, BLOCK):
        for column in range(0, width, BLOCK):
            yield Window(column, row, min(BLOCK, width - column), min(BLOCK, height - row))


@contextmanager
def _refusing(tiles: Tiles, near: Any, index: Index, factor: int) -> Iterator[None]:
    """Raises InputError when GDAL meets an error, whether it tells so or not.

    ``near``: rows of the tiles that are read meanwhile.
    """
    heard = _Ear()
    try:
        with heard:
            yield
    except RasterioError as error:
        heard.said.append(_told(error))
    if heard.said:
        found = [problem for row in near if (problem := _problem(tiles, row, index, factor))]
        unknown = Problem("unreadable", f"can't be read ({heard.said[0]})", asset=index.asset)
        raise InputError(found or [unknown], "mend or leave out, or build without --overview")


def _problem(tiles: Tiles, row: int, index: Index, factor: int) -> Problem | None:
    """What is wrong with a tile: it is read by itself, as finely as the overview wants it."""
    location = tiles.location[row]
    try:
        with rasterio.open(location) as dataset:
            shape = (max(1, dataset.height // factor), max(1, dataset.width // factor))
            dataset.read(out_shape=(dataset.count, *shape))
    except (RasterioError, OSError) as error:
        return Problem(
            "unreadable",
            f"can't be read ({_told(error)})",
            item=tiles.item[row],
            asset=index.asset,
            href="" if location.startswith("<") else resolve(location, "/"),
        )
    return None


def _told(error: Exception) -> str:
    return str(error.__cause__ or error).partition("\n")[0][:300]


class _Ear(logging.Handler):
    """Hears what GDAL says to rasterio in this thread: errors, also those it swallows."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[str] = []
        self._thread = threading.get_ident()
        self._logs = [logging.getLogger(f"rasterio.{name}") for name in ("_err", "_env")]

    def emit(self, record: logging.LogRecord) -> None:
        # what a call survived is an INFO of _err; a WARNING is no error (a retry that may succeed)
        survived = record.name.endswith("_err") and record.levelno == logging.INFO
        error = survived or record.levelno >= logging.ERROR
        if error and record.thread == self._thread:
            self.said.append(record.getMessage().partition("msg=")[2] or record.getMessage())

    def __enter__(self) -> None:
        self._before = [log.level for log in self._logs], self._logs[0].manager.disable
        logging.disable(logging.NOTSET)
        for log in self._logs:
            log.setLevel(logging.INFO)
            log.addHandler(self)

    def __exit__(self, *error: object) -> None:
        levels, disabled = self._before
        for log, level in zip(self._logs, levels, strict=True):
            log.removeHandler(self)
            log.setLevel(level)
        logging.disable(disabled)
