"""Items and a mosaic's grid to the rows of its tile indexes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.catalog.gti import Index, Tiles
from mosaic.catalog.href import location, relative
from mosaic.catalog.layout import VRT, safe
from mosaic.catalog.radiometry import Recoding
from mosaic.catalog.source import Band
from mosaic.catalog.table import Assets, Table
from mosaic.catalog.vrt import Tile, masked, recoded, warped, with_mask
from mosaic.grid import (
    LONLAT,
    Bounds,
    Floats,
    Grids,
    enlarged,
    is_geographic,
    mosaic_geobox,
    nice_resolution,
    pixel_extent,
    project,
    world,
)
from mosaic.grid import crs as as_crs
from mosaic.outline import Bools, Geometries, Outlines, batches, grown, outlines
from mosaic.reach import fitted, foretold, suggested


@dataclass(frozen=True, slots=True)
class Pieces:
    """Where source grids lie in a mosaic, by columns, one row a piece; most grids have one."""

    grid: npt.NDArray[np.int64]
    """(m,) row of the grid."""
    bounds: Floats
    """(m, 4) bounds of the outline in the mosaic's CRS."""
    inside: Floats
    """(m, 4) bounds of what the mosaic can show of it, NaN where that is nothing."""
    plain: npt.NDArray[np.bool_]
    """(m,) whether GDAL finds this extent by itself."""
    footprint: Geometries
    """(m,) the outline grown by 1 to 2 pixels."""
    reach: Floats
    """(m, 4) bounds that GDAL gives a plain piece, infinite where they can't be told."""
    missing: npt.NDArray[np.int64]
    """Rows of grids no part of which can be projected."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A mosaic's grid and the place of every source grid in it."""

    crs: str
    """Canonical name of the mosaic's CRS."""
    grid: GeoBox
    """The mosaic's pixels."""
    pieces: Pieces
    """Where the sources' grids lie."""
    plain: Geometries
    """(m,) footprints of the pieces where these are files as they are; None for other pieces."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the mosaic in pixels."""
        height, width = self.grid.shape
        return (height, width)


def native_resolution(grids: Grids, crs: str) -> tuple[float, float] | None:
    """The finest pixel of any source, in the mosaic's CRS: nothing is lost by default.

    None when the middle of none can be projected.

    Sources in the mosaic's own CRS keep their pixel, square or not; else pixels are square.
    """
    if grids.within(crs).all():
        t = grids.transform
        return (
            float(np.hypot(t[:, 0], t[:, 3]).min()),
            float(np.hypot(t[:, 1], t[:, 4]).min()),
        )
    sizes = _sizes_in_the_middle(grids, crs)
    if np.isnan(sizes).all():
        return None
    best = int(np.nanargmin(sizes))
    linear = as_crs(grids.name(best)).is_projected and as_crs(crs).is_projected
    own = float(grids.pixel[best]) if linear else None
    size = nice_resolution(float(sizes[best]), own, is_geographic(crs))
    return (size, size)


def _sizes_in_the_middle(grids: Grids, crs: str) -> Floats:
    """(n,) the shorter side of each grid's middle pixel in a CRS, NaN where it has none."""
    sizes = np.full(len(grids), np.nan)
    half = np.array([0.5])
    for index, name in enumerate(grids.crs):
        rows = np.flatnonzero(grids.crs_index == index)
        here = grids.take(rows)
        x, y = here.xy(half, half)
        x0, y0 = project(name, crs, x, y)
        sides = []
        for a, d in ((0, 3), (1, 4)):
            x1, y1 = project(
                name, crs, x + here.transform[:, a : a + 1], y + here.transform[:, d : d + 1]
            )
            dx = x1 - x0
            if is_geographic(crs):
                # a degree of longitude is worth what it measures there
                dx = ((dx + 180.0) % 360.0 - 180.0) * np.cos(np.radians(y0))
            sides.append(np.hypot(dx, y1 - y0)[:, 0])
        side = np.minimum(*sides)
        sizes[rows] = np.where(np.isfinite(side) & (side > 0), side, np.nan)
    return sizes


def frame(
    grids: Grids,
    crs: str,
    resolution: tuple[float, float] | None,
    bbox: Bounds | None,
    base: GeoBox | None = None,
) -> Frame | None:
    """The mosaic's grid over all sources (within ``bbox``, in degrees), and where each lies.

    ``base``: a grid that is there, to be enlarged (but not with a ``bbox``). None when no source
    lies there.
    """
    res = resolution or native_resolution(grids, crs)
    if res is None:
        return None
    whole = world(crs)
    window = None if whole is None else shapely.box(*whole)
    if bbox is not None:
        asked = bbox_outline(bbox, crs)
        window = asked if window is None else shapely.intersection(asked, window)
    parts = []
    for rows in batches(grids):
        part = _pieces(grids.take(rows), crs, res, window)
        parts.append(replace(part, grid=rows[part.grid], missing=rows[part.missing]))
    names = [field.name for field in fields(Pieces)]
    pieces = Pieces(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    seen = pieces.inside[~np.isnan(pieces.inside[:, 0])]
    if not len(seen):
        return None
    (west, south), (east, north) = seen[:, :2].min(0).tolist(), seen[:, 2:].max(0).tolist()
    extent: Bounds = (west, south, east, north)
    if base is None:
        box = mosaic_geobox(extent, res, crs, origin(grids, crs, res))
    else:
        box = enlarged(base, extent) if bbox is None else base
    footprints = np.full(len(pieces.grid), None, object)
    rows = np.flatnonzero(pieces.plain)
    warped = ~grids.within(crs)[pieces.grid[rows]]
    footprints[rows] = fitted(
        pieces.footprint[rows], pieces.bounds[rows], pieces.reach[rows], warped, False, box.affine
    )
    return Frame(crs, box, pieces, footprints)


def _pieces(
    grids: Grids, crs: str, res: tuple[float, float], window: shapely.Geometry | None
) -> Pieces:
    largest, typical = pixel_extent(grids, crs)
    # near a pole a pixel may span degrees at one corner and seconds at another
    with np.errstate(invalid="ignore"):
        singular = np.any(largest > 4 * typical, axis=1)
    own = np.nan_to_num(np.where(singular[:, None], 0.0, largest), nan=0.0)
    pixel = np.fmax(own, np.array(res))
    found = outlines(grids, crs, pixel, singular)
    apart = np.unique(found.grid[found.plain & _cropped(grids, crs, found, pixel)])
    # pieces become VRTs on the mosaic's own pixels: theirs is the pixel that counts
    found = _exact(found, grids, crs, apart, res)
    bounds = shapely.bounds(found.geometry)
    inside = bounds.copy()
    if window is not None:
        shapely.prepare(window)
        cut = ~shapely.contains_properly(window, found.geometry)
        inside[cut] = shapely.bounds(shapely.intersection(found.geometry[cut], window))
    plain = found.plain & ~np.isin(found.grid, apart)
    unit = np.where(plain[:, None], pixel[found.grid], np.array(res))
    footprints = grown(found.geometry, unit, found.plain, crs)
    reach = _reach(grids, crs, found)
    return Pieces(found.grid, bounds, inside, plain, footprints, reach, found.missing)


def _exact(
    found: Outlines,
    grids: Grids,
    crs: str,
    rows: npt.NDArray[np.int64],
    res: tuple[float, float],
) -> Outlines:
    """Outlines, those of some grids measured anew by pixels of a size."""
    if not len(rows):
        return found
    fresh = outlines(grids.take(rows), crs, np.tile(res, (len(rows), 1)))
    kept = ~np.isin(found.grid, rows)
    return Outlines(
        np.concatenate([found.grid[kept], rows[fresh.grid]]),
        np.concatenate([found.geometry[kept], fresh.geometry]),
        np.concatenate([found.plain[kept], fresh.plain]),
        np.union1d(found.missing, rows[fresh.missing]),
    )


def _reach(grids: Grids, crs: str, found: Outlines) -> Floats:
    """(m, 4) bounds that GDAL gives pieces by itself."""
    bounds: Floats = shapely.bounds(found.geometry)
    warped = found.plain & ~grids.within(crs)[found.grid]
    told = np.zeros(len(grids.crs_index), bool)
    for place, name in enumerate(grids.crs):
        mine = grids.crs_index == place
        told[mine] = foretold(name, crs, grids.transform[mine], grids.shape[mine])
    known = warped & told[found.grid]
    bounds[warped & ~known] = (-np.inf, -np.inf, np.inf, np.inf)
    count = np.where(known, shapely.get_num_coordinates(found.geometry), 0)
    for size in np.unique(count[known]):
        rows = np.flatnonzero(count == size)
        rings = shapely.get_coordinates(found.geometry[rows]).reshape(len(rows), -1, 2)
        bounds[rows] = suggested(rings, grids.shape[found.grid[rows]])
    return bounds


def origin(grids: Grids, crs: str, res: tuple[float, float]) -> tuple[float, float]:
    """A corner of the pixels that most sources share with the mosaic, else the CRS's origin.

    Sources in the mosaic's CRS, with its pixel size, are then copied, not resampled.
    """
    t = grids.transform
    same = grids.within(crs) & grids.upright
    same &= np.isclose(t[:, 0], res[0], rtol=1e-9) & np.isclose(-t[:, 4], res[1], rtol=1e-9)
    if not same.any():
        return (0.0, 0.0)
    phase = np.round(np.mod(t[same][:, [2, 5]] / np.array(res), 1.0), 6) % 1.0
    phases, first, count = np.unique(phase, axis=0, return_index=True, return_counts=True)
    best = int(np.argmax(count))
    if not phases[best].any():
        return (0.0, 0.0)
    corner = t[same][first[best]]
    return (float(corner[2]), float(corner[5]))


def _cropped(grids: Grids, crs: str, found: Outlines, pixel: Floats) -> npt.NDArray[np.bool_]:
    """(m,) outlines of which GDAL, warping by itself, would lose more than a pixel at an edge.

    It rounds a tile's extent to pixels of one size, the diagonal's; where a degree of longitude
    is short (beyond 65 degrees of latitude in EPSG:4326) half of that is many rows.
    """
    bounds = shapely.bounds(found.geometry)
    size = np.hypot(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    size /= np.hypot(grids.shape[found.grid, 0], grids.shape[found.grid, 1])
    foreign = ~grids.within(crs)[found.grid]
    cropped: npt.NDArray[np.bool_] = foreign & (size / 2 > pixel[found.grid].min(axis=1))
    return cropped


def bbox_outline(bbox: Bounds, crs: str) -> shapely.Geometry:
    """A box in degrees (east < west across 180) as a polygon in a CRS."""
    west, south, east, north = bbox
    if east < west:
        east += 360.0
    size = 1024
    transform = ((east - west) / size, 0.0, west, 0.0, -(north - south) / size, north)
    grids = Grids.one(LONLAT, (size, size), transform)
    pixel = np.fmax(np.nan_to_num(pixel_extent(grids, crs)[1], nan=0.0), 1e-9)
    return shapely.union_all(outlines(grids, crs, pixel).geometry)


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
