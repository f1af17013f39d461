"""Do footprints hold their scenes, and end with the pixels that GDAL gives them? Through PROJ.

This is a second way to what :mod:`mosaic.outline` computes, on purpose: the edge of each raster
is projected point by point and its distance to the edge of the footprint is measured in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine

from mosaic.catalog.source import has_code
from mosaic.checker.items import Places
from mosaic.grid import LONLAT, Bounds, Floats, is_geographic, transformer, world
from mosaic.outline import Geometries, scaled
from mosaic.reach import foretold, suggested

LEAST, MOST = -0.65, 2.0
"""Pixels by which a footprint must exceed, at least, what GDAL shows of its scene, and may at
most. It may end within its last pixels, so long as it meets all whose middle the scene holds: at
0.7 pixels, half a diagonal, it no longer does."""
SLACK = 0.1
"""Pixels that simplified outlines and straight chords are granted above the most."""
_POINTS = (84, 240)
"""Points round a scene: when there are many, and when there are few."""
_MANY = 5000
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Margins:
    """By how many pixels footprints exceed their scenes, one row a pair."""

    least: Floats
    """(n,) least distance from the scene's edge to the footprint's; negative outside it."""
    most: Floats
    """(n,) greatest such distance along the sides, corners left out.

    Where both are well these are :data:`LEAST` and :data:`MOST`, within which they lie.
    """
    crosses: npt.NDArray[np.bool_]
    """(n,) whether a footprint goes round the world, or out of it, where its scene doesn't."""
    beyond: Floats
    """(n,) by how many of the mosaic's pixels a footprint's bounds leave its tile's pixels."""
    short: Floats
    """(n,) by how many, at most, they end before them."""


def margins(
    places: Places,
    rows: npt.NDArray[np.int64],
    footprints: Geometries,
    crs: str,
    grid: Affine,
) -> Margins:
    """Margins of footprints, in pixels of the mosaic or the scene, whichever are larger.

    ``rows``: (n,) row of each footprint's place. ``crs``, ``grid``: the mosaic's CRS and affine.
    """
    res = np.array([grid.a, -grid.e])
    beyond, short = np.full((2, len(rows)), -np.inf)
    least, most = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    crosses = np.zeros(len(rows), bool)
    whole = world(crs)
    points = _POINTS[0] if len(rows) > _MANY else _POINTS[1]
    names = np.array(places.crs, object)[rows]
    for name in dict.fromkeys(names.tolist()):
        mine = np.flatnonzero(names == name)
        for start in range(0, len(mine), _AT_ONCE):
            part = mine[start : start + _AT_ONCE]
            shape, transform = places.shape[rows[part]], places.transform[rows[part]]
            ring = _projected(name, crs, shape, transform, *_round(points))
            pixel = np.fmax(_pixel(name, crs, shape, transform, whole), res)
            reach = _reach(name, crs, shape, transform, ring)
            beyond[part], short[part] = _ends(footprints[part], reach, name != crs, grid, whole)
            # what GDAL itself cuts off need not be held
            ring = np.clip(ring, reach[:, None, :2], reach[:, None, 2:])
            well = _well(footprints[part], ring, pixel, whole)
            least[part], most[part] = LEAST, MOST
            doubt = np.flatnonzero(~well)
            least[part[doubt]], most[part[doubt]] = _distances(
                footprints[part[doubt]], ring[doubt], pixel[doubt], whole
            )
            if whole:
                crosses[part] = _crosses(footprints[part], name, shape, transform, whole, pixel)
    return Margins(least, most, crosses, beyond, short)


def _reach(
    name: str, crs: str, shape: npt.NDArray[np.int64], transform: Floats, ring: Floats
) -> Floats:
    """(n, 4) bounds that GDAL gives tiles of a CRS; infinite where they can't be told."""
    bounds = np.concatenate([ring.min(axis=1), ring.max(axis=1)], axis=1)
    if name == crs:
        return bounds
    known = np.isfinite(ring).all(axis=(1, 2)) & foretold(name, crs, transform, shape)
    bounds[:] = (-np.inf, -np.inf, np.inf, np.inf)
    closed = np.concatenate([ring, ring[:, :1]], axis=1)
    bounds[known] = suggested(closed[known], shape[known])
    return bounds


def _ends(
    footprints: Geometries, reach: Floats, snapped: bool, grid: Affine, whole: Bounds | None
) -> tuple[Floats, Floats]:
    """(n,) by how many of the mosaic's pixels footprints leave their tile's pixels, or lack.

    Where bounds lie so near to a pixel's edge that GDAL may take either, both will do.
    """
    box = shapely.bounds(footprints)
    res = np.array([grid.a, -grid.e, grid.a, -grid.e])
    origin = np.array([grid.c, grid.f, grid.c, grid.f])
    sign = np.array([-1.0, -1.0, 1.0, 1.0])
    end, here = sign * (reach - origin) / res, sign * (box - origin) / res
    last = [np.ceil(end + slack) if snapped else end for slack in (0.01, -0.01)]
    beyond, short = here - last[0], last[1] - here
    short[~np.isfinite(end)] = -np.inf
    if whole:  # at the edge of the map footprints end with it
        edge = np.abs(box - np.array(whole)) < 2.5 * res
        beyond[edge] = short[edge] = -np.inf
    return beyond.max(axis=1), short.max(axis=1)


def uncovered(
    places: Places, row: int, pieces: Geometries, crs: str, res: tuple[float, float], extent: Bounds
) -> float:
    """The least distance, in the mosaic's pixels, from a scene's points into its pieces' union.

    Only points inside the mosaic's ``extent`` count; NaN when there are none. For scenes that a
    mosaic shows in pieces: cut at 180 degrees, round a pole, rotated.
    """
    u, v = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0, 1, 41),) * 2))
    name = places.crs[row]
    shape, transform = places.shape[row : row + 1], places.transform[row : row + 1]
    xy = _projected(name, crs, shape, transform, u, v)[0]
    whole = world(crs)
    if whole:
        # PROJ leaves degrees as they are: a raster from 0 to 360 lies on the map all the same
        xy[:, 0] = (xy[:, 0] - whole[0]) % (whole[2] - whole[0]) + whole[0]
    west, south, east, north = extent
    inside = np.isfinite(xy).all(1)
    inside &= (xy[:, 0] > west) & (xy[:, 0] < east) & (xy[:, 1] > south) & (xy[:, 1] < north)
    if whole:  # at the edge of the map footprints end with it
        inside &= ~_at_the_edge(xy, whole, 3 * np.array(res))
    if not inside.any():
        return float("nan")
    union = shapely.union_all(scaled(pieces, np.tile(1 / np.array(res), (len(pieces), 1))))
    here = shapely.points(xy[inside] / np.array(res))
    away = np.asarray(shapely.distance(here, shapely.boundary(union)))
    shapely.prepare(union)
    outside = ~np.asarray(shapely.covers(union, here))
    away[outside] *= -1
    return float(away.min())


def _round(points: int) -> tuple[Floats, Floats]:
    """Fractions of width and height around the edge; each quarter begins with a corner."""
    side = np.arange(points // 4) / (points // 4)
    one, zero = np.ones_like(side), np.zeros_like(side)
    return (
        np.concatenate([side, one, 1 - side, zero]),
        np.concatenate([zero, side, one, 1 - side]),
    )


def _projected(
    name: str, crs: str, shape: npt.NDArray[np.int64], t: Floats, u: Floats, v: Floats
) -> Floats:
    """(n, points, 2) coordinates in a CRS of fractions of rasters' widths and heights."""
    column, row = shape[:, 1:] * u, shape[:, :1] * v
    x = t[:, 0:1] * column + t[:, 1:2] * row + t[:, 2:3]
    y = t[:, 3:4] * column + t[:, 4:5] * row + t[:, 5:6]
    if name == crs:
        return np.stack([x, y], axis=-1)
    px, py = transformer(name, crs).transform(x.ravel(), y.ravel())
    return np.stack([np.reshape(px, x.shape), np.reshape(py, x.shape)], axis=-1)


def _pixel(
    name: str, crs: str, shape: npt.NDArray[np.int64], t: Floats, whole: Bounds | None
) -> Floats:
    """(n, 2) largest width and height of a raster's pixels in a CRS, at nine places."""
    u, v = (axis.ravel() for axis in np.meshgrid([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]))
    at = _projected(name, crs, shape, t, u, v)
    size = np.zeros_like(at)
    for a, d in ((0, 3), (1, 4)):
        moved = t.copy()
        moved[:, 2] += t[:, a]
        moved[:, 5] += t[:, d]
        step = np.abs(_projected(name, crs, shape, moved, u, v) - at)
        if whole:
            step[..., 0] = np.minimum(step[..., 0], np.abs(whole[2] - whole[0] - step[..., 0]))
        size += step
    size[~np.isfinite(size)] = 0.0
    found: Floats = size.max(axis=1)
    return found


def _well(
    footprints: Geometries, ring: Floats, pixel: Floats, whole: Bounds | None
) -> npt.NDArray[np.bool_]:
    """(n,) footprints that lie as they should for certain; the others are worth measuring.

    A footprint and a little more holds all of the edge, less two pixels it holds nothing of it.
    """
    sound: npt.NDArray[np.bool_] = np.all(np.isfinite(ring), axis=(1, 2))
    if whole:
        sound &= ~np.any(_at_the_edge(ring, whole, 2.5 * pixel[:, None]), axis=1)
    rows = np.flatnonzero(sound)
    unit = scaled(footprints[rows], 1 / pixel[rows])
    edges = shapely.linearrings(ring[rows] / pixel[rows, None])
    held = np.asarray(shapely.covers(shapely.buffer(unit, -LEAST), edges))
    free = np.asarray(shapely.disjoint(shapely.buffer(unit, -MOST - SLACK), edges))
    sound[rows] = held & free
    return sound


def _distances(
    footprints: Geometries, ring: Floats, pixel: Floats, whole: Bounds | None
) -> tuple[Floats, Floats]:
    """(n,) least and greatest signed distance of rings' points to the edges of footprints."""
    count = ring.shape[1]
    unit = scaled(footprints, 1 / pixel)
    shapely.prepare(unit)
    flat = (ring / pixel[:, None]).reshape(-1, 2)
    known = np.all(np.isfinite(flat), axis=1)
    here = shapely.points(np.where(known[:, None], flat, 0.0))
    away = np.asarray(shapely.distance(here, np.repeat(shapely.boundary(unit), count)))
    outside = ~np.asarray(shapely.covers(np.repeat(unit, count), here))
    away[outside] *= -1
    away[~known] = -np.inf
    away = away.reshape(-1, count)
    low, high = away.copy(), away.copy()
    if whole:  # at the edge of the map footprints end with it
        edge = _at_the_edge(ring, whole, 2.5 * pixel[:, None])
        low[edge & (away >= -1e-6)] = np.inf
        high[edge] = -np.inf
    high[:, :: count // 4] = -np.inf  # sharp corners reach further
    least, most = low.min(axis=1), high.max(axis=1)
    for row in np.flatnonzero(most > MOST + SLACK):
        # half the globe folds over itself: then an edge may lie within, and no distance tells
        around = ring[row][np.all(np.isfinite(ring[row]), axis=1)]
        if len(around) > 3 and not shapely.is_simple(shapely.linearrings(around)):
            most[row] = -np.inf
    return least, most


def _at_the_edge(xy: Floats, whole: Bounds, within: Floats) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = (xy[..., 0] < whole[0] + within[..., 0]) | (
        xy[..., 0] > whole[2] - within[..., 0]
    )
    near |= (xy[..., 1] < whole[1] + within[..., 1]) | (xy[..., 1] > whole[3] - within[..., 1])
    return near


def _crosses(
    footprints: Geometries,
    name: str,
    shape: npt.NDArray[np.int64],
    transform: Floats,
    whole: Bounds,
    pixel: Floats,
) -> npt.NDArray[np.bool_]:
    """(n,) footprints that leave the map, or span half of it where their scene doesn't."""
    box = shapely.bounds(footprints)
    found: npt.NDArray[np.bool_] = (box[:, 0] < whole[0] - 0.01 * pixel[:, 0]) | (
        box[:, 2] > whole[2] + 0.01 * pixel[:, 0]
    )
    for row in np.flatnonzero(box[:, 2] - box[:, 0] > (whole[2] - whole[0]) / 2):
        some = _projected(
            name, LONLAT, shape[row : row + 1], transform[row : row + 1], *_round(_POINTS[1])
        )[0, :, 0]
        lon = some if is_geographic(name) else np.unwrap(some, period=360.0)
        found[row] |= bool(np.ptp(lon) < 180.0)
    return found


def same_crs(one: str, other: str, bounds: Bounds) -> bool:
    """Whether two CRSs are one: equal, or equal in what they do at the corners of ``bounds``.

    A GeoPackage keeps CRSs without a code as WKT 1, which loses names.
    """
    try:
        a, b = pyproj.CRS.from_user_input(one), pyproj.CRS.from_user_input(other)
    except pyproj.exceptions.CRSError:
        return False
    if a == b or a.equals(b, ignore_axis_order=True):
        return True
    if has_code(one) and has_code(other):
        return False
    west, south, east, north = bounds
    x, y = np.array([west, east, east, west]), np.array([south, south, north, north])
    try:
        px, py = pyproj.Transformer.from_crs(a, b, always_xy=True).transform(x, y)
    except pyproj.exceptions.ProjError:
        return False
    size = max(east - west, north - south)
    same_kind = a.is_geographic == b.is_geographic
    return same_kind and bool(np.hypot(px - x, py - y).max() < 1e-9 * size + 1e-6)
