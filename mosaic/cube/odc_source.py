"""One raster file on a grid, as odc-loader asks for it: its header believed, its pixels placed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from odc.geo.geobox import GeoBox

from mosaic.bridge import planned
from mosaic.catalog.opened import Variant
from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import Band, holds
from mosaic.engine.foreign import Foreign
from mosaic.engine.header import Head
from mosaic.engine.known import Known
from mosaic.engine.lattice import Window, lattice
from mosaic.engine.pieces import Grid
from mosaic.engine.pipeline import draw_all
from mosaic.engine.raster import Raster
from mosaic.engine.reading import grid_of
from mosaic.engine.resampling import method
from mosaic.engine.scene import Layer, Request, Scene, shown
from mosaic.errors import (
    ForeignError,
    MosaicError,
    Problem,
    ReadError,
    TiffError,
    UsageError,
)
from mosaic.grid import canonical
from mosaic.storage import Gate

if TYPE_CHECKING:
    from odc.loader.types import RasterLoadParams, RasterSource

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

ROOM = 16 << 20
"""Bytes of blocks that one source may have in memory, as far as one portion doesn't need more."""
_WHOLE = 1e-6
"""Pixels by which a part of a grid may lie off its pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What a source shows of a grid."""

    roi: tuple[slice, slice]
    """Rows and columns that it may show in."""
    values: Array
    """(bands, h, w) the file's own numbers there."""
    filled: Bools
    """(bands, h, w) which of them it has."""
    nodata: float | None
    """The number that stands for no data in the file, or as the load says; None: none does."""


@dataclass(frozen=True, slots=True)
class Target:
    """The part of a grid that is asked for."""

    grid: Grid
    """The whole grid: what a pixel shows depends on it, however it is cut."""
    window: Window
    """First row, first column, height, width."""


def target_in(whole: GeoBox | None, part: GeoBox) -> Target:
    """A part of a grid as a window of the whole; a grid of its own where it is no such part.

    Raises UsageError for grids that have no CRS or no pixels.
    """
    if not isinstance(part, GeoBox) or part.crs is None or min(part.shape) < 1:
        raise UsageError("a load needs an odc.geo GeoBox with a CRS and pixels")
    height, width = part.shape
    if isinstance(whole, GeoBox) and whole.crs == part.crs:
        a, b, c, d, e, f = tuple(~whole.affine @ part.affine)[:6]
        column, row = round(c), round(f)
        # the far corner tells of what adds up over the part
        far = a * width + b * height + c - column - width, d * width + e * height + f - row - height
        off = np.abs([c - column, f - row, *far]).max()
        inside = row >= 0 and column >= 0
        inside = inside and row + height <= whole.shape[0] and column + width <= whole.shape[1]
        if off < _WHOLE and inside:
            return Target(grid_of(whole), (row, column, height, width))
    return Target(grid_of(part), (0, 0, height, width))


async def draw(
    gate: Gate,
    source: RasterSource,
    cfg: RasterLoadParams,
    target: Target,
    selection: Any,
) -> Drawn:
    """What one source shows of a grid, on the background loop.

    The file itself tells where it lies and what its numbers are, as odc-loader's own reader has
    it; the source's geobox counts where the file tells of no place. Raises UsageError for a band,
    a method or a type that can't be had, ReadError for a file that can't be read.
    """
    href = _absolute(source.uri)
    how = method(cfg.resampling)
    if source.subdataset is not None:
        raise UsageError(f"subdatasets can't be read ({source.subdataset!r:.80})")
    known = Known(Request(target.grid, target.window, ()), gate)
    try:
        found = await known.head(href)
    except MosaicError as error:
        raise _failed(href, error) from error
    finally:
        await known.close()
    file = found.raster
    bands = _bands(source, file, href, selection)
    nodata = _nodata(file, bands[0], cfg)
    scene = _scene(source, href, found, cfg)
    declared = (Band(file.levels[0].image.dtype.name),) * len(bands)
    layer = Layer("", bands, declared, how, (scene,), overviews=cfg.use_overviews)
    window = await planned(lambda: _window(target, scene, layer))
    top, left, height, width = window
    row, column = top - target.window[0], left - target.window[1]
    roi = slice(row, row + height), slice(column, column + width)
    if not height or not width:
        nothing = np.zeros((len(bands), 0, 0), layer.dtype)
        return Drawn((slice(0, 0), slice(0, 0)), nothing, nothing.astype(bool), nodata)
    outcome = await draw_all(Request(target.grid, window, (layer,)), gate, room=ROOM)
    canvas = outcome.canvases[0]
    return Drawn(roi, canvas.values, canvas.filled, nodata)


def _absolute(uri: str) -> str:
    """A path of this machine in full."""
    return uri if "://" in uri or uri.startswith("/vsi") else str(Path(uri).absolute())


def _bands(source: RasterSource, file: Raster, href: str, selection: Any) -> tuple[int, ...]:
    """Places in the file of the bands that are read. Raises UsageError for one it hasn't."""
    count = file.levels[0].image.samples
    if source.band == 0:
        every = np.arange(count)
        try:
            some = every if selection is None else _picked(every, selection)
        except (IndexError, TypeError, ValueError) as error:
            what = f"{selection!r:.80} is no selection of {count} bands ({error})"
            raise UsageError(str(Problem("band", what, href=href))) from error
        return tuple(some.tolist())
    if not 1 <= source.band <= count:
        what = f"it has {count} bands, the load asks for band {source.band}"
        raise UsageError(str(Problem("band", what, href=href)))
    return (source.band - 1,)


def _picked(every: npt.NDArray[np.int64], selection: Any) -> npt.NDArray[np.int64]:
    """odc-loader's selections: lists count from 1, all else is numpy's."""
    if isinstance(selection, list):
        return every[np.array(selection, np.int64) - 1]
    return np.atleast_1d(every[selection])


def _nodata(file: Raster, band: int, cfg: RasterLoadParams) -> float | None:
    """The number of a file that stands for no data."""
    from odc.loader import resolve_src_nodata

    found: float | None = resolve_src_nodata(file.nodata_of(band), cfg)
    return found


def _scene(source: RasterSource, href: str, found: Head | Foreign, cfg: RasterLoadParams) -> Scene:
    """A file as the engine draws scenes, by what itself tells."""
    file = found.raster
    image = file.levels[0].image
    dtype = image.dtype.name
    if shown(dtype) is None:
        raise _unread(href, "kind", f"its pixels are {dtype}: complex numbers can't be read")
    crs, transform = file.geo.crs, file.geo.transform
    box = source.geobox if isinstance(source.geobox, GeoBox) else None
    if box is not None and transform is None and tuple(box.shape) == tuple(file.shape):
        transform = tuple(box.affine)[:6]
    if box is not None and crs is None and box.crs is not None:
        crs = str(box.crs)
    if crs is None or transform is None:
        what = "neither the file nor its item tells where it lies"
        raise _unread(href, "ungeoreferenced", what)
    fallback, override = (
        value if value is not None and holds(dtype, value) else None
        for value in (cfg.src_nodata_fallback, cfg.src_nodata_override)
    )
    bands = (Band(dtype, nodata=fallback),) * image.samples
    other = override is not None
    recodings = (Recoding(nodata_in=override),) * image.samples if other else None
    try:
        grid = Grid(canonical(crs), file.shape, tuple(transform))
    except UsageError as error:
        raise _unread(href, "crs", str(error)) from error
    return Scene("", "", href, grid, Variant(bands, recodings))


def _window(target: Target, scene: Scene, layer: Layer) -> Window:
    """The part of a window that a scene may show in."""
    corners = layer.method.footprint
    places = lattice(target.grid, scene.grid, target.window, corners=corners).target
    if not len(places):
        return *target.window[:2], 0, 0
    (top, left), (bottom, right) = places[:, :2].min(0).tolist(), places[:, 2:].max(0).tolist()
    return target.window[0] + top, target.window[1] + left, bottom - top, right - left


def _failed(href: str, error: MosaicError) -> ReadError:
    what, advice = str(error), ""
    if isinstance(error, TiffError | ForeignError):
        what, advice = error.what, error.advice
    return ReadError([Problem(type(error).__name__, what, advice, href=href)])


def _unread(href: str, kind: str, what: str) -> ReadError:
    return ReadError([Problem(kind, what, href=href)])
