"""Items and a mosaic's grid to the rows of its tile indexes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from mosaic.builder.frame import Frame
from mosaic.catalog.gti import Index, Tiles
from mosaic.catalog.href import location, relative
from mosaic.catalog.layout import VRT, safe
from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import Band
from mosaic.catalog.table import Assets, Table
from mosaic.catalog.vrt import Tile, masked, recoded, warped, with_mask
from mosaic.grid import LONLAT, Floats, is_geographic, project, world
from mosaic.outline import Bools, Geometries
from mosaic.reach import fitted


@dataclass(frozen=True, slots=True)
class Written:
    """The rows of one index and the VRT files that they need."""

    tiles: Tiles
    """Rows of the index."""
    files: dict[str, str]
    """VRT texts by path inside the mosaic's folder."""


def tiles(
    table: Table,
    index: Index,
    frame: Frame,
    z: npt.NDArray[np.int64],
    folder: Path,
    recodings: Mapping[int, tuple[Recoding, ...]],
) -> Written:
    """The rows of one asset's index.

    ``folder``: the mosaic's final place; files inside it get relative locations.
    ``recodings``: of bands, by their row in the table, that the index encodes otherwise.
    """
    assets = table.assets[index.asset]
    grids = table.grids
    pieces = frame.pieces
    # pieces of grid g are rows starts[g] .. starts[g + 1] of those sorted by grid
    by_grid = np.argsort(pieces.grid, kind="stable")
    starts = np.searchsorted(pieces.grid[by_grid], np.arange(len(grids) + 1))
    count = (starts[1:] - starts[:-1])[assets.grid]
    row = np.repeat(np.arange(len(assets.item)), count)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    piece = by_grid[starts[:-1][assets.grid[row]] + nth]
    foreign = ~grids.within(frame.crs)[assets.grid[row]]
    plain = pieces.plain[piece] & (grids.upright[assets.grid[row]] | foreign)
    blind = (foreign | ~plain) & _mask_is_lost(index)
    plain &= ~blind
    footprint = _footprints(frame, piece, plain)
    seen = shapely.intersects(footprint, shapely.box(*frame.grid.boundingbox.bbox))
    row, piece, nth, footprint = row[seen], piece[seen], nth[seen], footprint[seen]
    plain, blind = plain[seen], blind[seen]
    changed = np.isin(assets.bands[row], list(recodings))
    direct = plain & ~assets.mask_nodata[row] & ~changed
    files: dict[str, str] = {}
    locations = []
    columns = (row.tolist(), piece.tolist(), nth.tolist(), direct.tolist(), blind.tolist())
    for r, p, n, as_is, outer in zip(*columns, strict=True):
        kept = relative(assets.href[r], folder)
        if as_is:
            locations.append(location(kept))
            continue
        inside = kept.startswith("./")
        # ids may differ in what a file name can't hold: the item's number tells them apart
        number = int(table.line[assets.item[r]])
        name = f"{VRT}/{safe(index.asset)}/{safe(table.id[assets.item[r]])}_{number}_{n}.vrt"
        tile = _tile(table, assets, r, kept)
        how = recodings.get(int(assets.bands[r]))
        if bool(plain[len(locations)]):
            text = recoded(tile, how) if how else masked(tile)
        else:
            if how:  # numbers change before they are resampled
                text = recoded(tile, how)
                inner = name.replace(".vrt", "_stored.vrt")
                if inside:
                    files[inner] = text
                    text = inner.rpartition("/")[2]
                tile = _encoded(tile, text, how)
            bounds = pieces.bounds[p]
            shape, affine = _piece_grid(frame, bounds)
            tile = _turned(tile, frame.crs, bounds)
            text = warped(tile, frame.crs, shape, affine, index.resampling)
            if outer:
                inner = name.replace(".vrt", "_alpha.vrt")
                if inside:
                    files[inner] = text
                    text = inner.rpartition("/")[2]
                text = with_mask(text, inside, tile.bands, frame.crs, shape, affine)
        if inside:
            files[name] = text
            locations.append(name)
        else:
            locations.append(text)
    item = assets.item[row]
    grid = assets.grid[row]
    transform = grids.transform[grid]
    return Written(
        Tiles(
            location=locations,
            geometry=footprint,
            item=[table.id[i] for i in item],
            datetime=[table.datetime[i] for i in item],
            z=z[item],
            crs=[grids.crs[c] for c in grids.crs_index[grid]],
            res=np.column_stack(
                [
                    np.hypot(transform[:, 0], transform[:, 3]),
                    np.hypot(transform[:, 1], transform[:, 4]),
                ]
            ),
        ),
        files,
    )


def _footprints(frame: Frame, piece: npt.NDArray[np.int64], plain: Bools) -> Geometries:
    """(n,) footprints of pieces that end within the pixels that GDAL gives them.

    ``plain``: (n,) rows of files as they are; the others are VRTs on the mosaic's own pixels.
    """
    found: Geometries = frame.plain[piece]
    rows = np.flatnonzero(~plain)
    pieces, bounds = frame.pieces, np.empty((len(rows), 4))
    for n, p in enumerate(piece[rows].tolist()):
        (height, width), here = _piece_grid(frame, pieces.bounds[p])
        bounds[n] = (here.c, here.f + here.e * height, here.c + here.a * width, here.f)
    given = pieces.footprint[piece[rows]], pieces.bounds[piece[rows]]
    native = np.zeros(len(rows), bool)
    found[rows] = fitted(*given, bounds, native, True, frame.grid.affine)
    return found


def _mask_is_lost(index: Index) -> bool:
    """Whether GDAL, warping a tile by itself, forgets where it has no pixels.

    So it is without a nodata value, unless the data are Byte or UInt16 in one or three bands.
    """
    bands = index.bands
    if bands[0].nodata is not None or any(band.color == "Alpha" for band in bands):
        return False
    return len(bands) not in (1, 3) or any(band.dtype not in ("uint8", "uint16") for band in bands)


def _encoded(tile: Tile, location: str, how: tuple[Recoding, ...]) -> Tile:
    """A tile in the index's encoding, as the VRT at a location shows it."""
    bands = tuple(
        replace(band, nodata=one.nodata_out) for band, one in zip(tile.bands, how, strict=True)
    )
    return replace(tile, location=location, bands=bands)


def _tile(table: Table, assets: Assets, row: int, kept: str) -> Tile:
    grid = int(assets.grid[row])
    inside = kept.startswith("./")
    # a VRT lies two folders below the mosaic's own
    where = f"../../{kept.removeprefix('./')}" if inside else location(kept)
    own: tuple[Band, ...] = table.bands[assets.bands[row]]
    height, width = (int(value) for value in table.grids.shape[grid])
    return Tile(
        location=where,
        relative=inside,
        crs=table.grids.name(grid),
        shape=(height, width),
        transform=tuple(float(value) for value in table.grids.transform[grid]),
        bands=own,
    )


def _turned(tile: Tile, crs: str, bounds: Floats) -> Tile:
    """A tile in degrees, turned by 360 to where a piece of it lies: its own may run to 360."""
    whole = world(crs)
    if whole is None or not is_geographic(tile.crs):
        return tile
    middle = np.array([(bounds[0] + bounds[2]) / 2]), np.array([(bounds[1] + bounds[3]) / 2])
    lon = float(project(crs, LONLAT, *middle)[0][0])
    a, b, c, d, e, f = tile.transform
    height, width = tile.shape
    turns = round((lon - (c + a * width / 2 + b * height / 2)) / 360.0)
    return replace(tile, transform=(a, b, c + 360.0 * turns, d, e, f))


def _piece_grid(frame: Frame, bounds: Floats) -> tuple[tuple[int, int], Affine]:
    """The part of the mosaic's lattice that covers bounds: whole pixels of the same grid."""
    a = frame.grid.affine

    def pixels(box: Floats) -> tuple[float, float, float, float]:
        return (
            (box[0] - a.c) / a.a,
            (box[3] - a.f) / a.e,
            (box[2] - a.c) / a.a,
            (box[1] - a.f) / a.e,
        )

    left, top, right, bottom = pixels(bounds)
    x0, y0 = math.floor(left + 1e-6), math.floor(top + 1e-6)
    x1, y1 = math.ceil(right - 1e-6), math.ceil(bottom - 1e-6)
    whole = world(frame.crs)
    if whole:
        left, top, right, bottom = pixels(np.array(whole))
        # at 180 degrees a pixel whose middle is on the map is whole: its rest is on the other side
        x0, y0 = max(x0, math.ceil(left - 0.5 - 1e-6)), max(y0, math.ceil(top - 1e-6))
        x1, y1 = min(x1, math.floor(right + 0.5 + 1e-6)), min(y1, math.floor(bottom + 1e-6))
    return (max(1, y1 - y0), max(1, x1 - x0)), a @ Affine.translation(x0, y0)
