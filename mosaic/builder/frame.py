"""A mosaic's grid over its sources, and where each of these lies in it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import shapely
from odc.geo.geobox import GeoBox

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
from mosaic.outline import Geometries, Outlines, batches, box_outlines, grown, outlines
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
        asked = shapely.union_all(box_outlines(bbox, LONLAT, crs).geometry)
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
