"""Outlines of rasters in another CRS: exact edges, cut at the antimeridian, closed at a pole.

The perimeter of each grid is projected point by point (at least 21 points a side, doubled
until a chord lies within a quarter of a pixel of the curve). Where the target CRS is cut at a
meridian, an outline that crosses it becomes a piece on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from pyproj.enums import TransformDirection

from mosaic.grid import (
    LONLAT,
    Bounds,
    Floats,
    Grids,
    is_geographic,
    pixel_extent,
    project,
    seam,
    transformer,
    world,
)

Geometries = npt.NDArray[np.object_]
Bools = npt.NDArray[np.bool_]

SEGMENTS = 24
"""Segments a side to start with; GDAL samples an edge at 21 points."""
MOST_SEGMENTS = 768
"""Segments a side at most; an edge that needs more is taken for broken."""
TOLERANCE = 0.1
"""Largest distance between chord and curve, in pixels."""
GROWTH = 1.5
"""Pixels by which footprints are grown, on average: 1 to 2 hold all that GDAL snaps outward."""
SPREAD = 0.9
"""Pixels within which an outline may leave the side of its footprint."""


@dataclass(frozen=True, slots=True)
class Outlines:
    """Outlines by columns, one row a piece; most grids have one piece."""

    grid: npt.NDArray[np.int64]
    """(m,) row of the grid."""
    geometry: Geometries
    """(m,) polygons in the target CRS."""
    plain: Bools
    """(m,) whether GDAL finds this extent by itself: one piece, every edge point projected."""
    missing: npt.NDArray[np.int64]
    """Rows of grids no part of which can be projected."""


def outlines(
    grids: Grids,
    target: str,
    pixel: Floats,
    apart: Bools | None = None,
    segments: int = SEGMENTS,
) -> Outlines:
    """Outlines of rasters in a CRS.

    ``pixel``: (n, 2) width and height, in target units, against which exactness is measured.
    ``apart``: (n,) grids that GDAL shall not place by itself, whatever their outline.
    ``segments``: segments a side to start with.
    """
    rows: list[npt.NDArray[np.int64]] = []
    shapes: list[Geometries] = []
    plain: list[Bools] = []
    missing: list[int] = []
    for index, name in enumerate(grids.crs):
        pending = np.flatnonzero(grids.crs_index == index)
        if not len(pending):
            continue
        if apart is not None:
            by_hand, pending = pending[apart[pending]], pending[~apart[pending]]
        else:
            by_hand = pending[:0]
        smooth, polygons = _smooth(grids.take(pending), name, target, pixel[pending], segments)
        rows.append(pending[smooth])
        shapes.append(polygons)
        plain.append(np.ones(len(polygons), bool))
        for row in np.concatenate([by_hand, pending[~smooth]]):
            pieces = _pieces(grids.take(np.array([row])), name, target)
            if not pieces:
                missing.append(int(row))
                continue
            rows.append(np.full(len(pieces), row))
            shapes.append(np.array(pieces, dtype=object))
            plain.append(np.zeros(len(pieces), bool))
    return Outlines(
        np.concatenate(rows) if rows else np.zeros(0, np.int64),
        np.concatenate(shapes) if shapes else np.zeros(0, object),
        np.concatenate(plain) if plain else np.zeros(0, bool),
        np.array(missing, dtype=np.int64),
    )


def batches(grids: Grids, size: int = 1 << 14) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of grids in parts, so that the points of their edges fit in memory."""
    by_crs = np.argsort(grids.crs_index, kind="stable")
    for start in range(0, len(by_crs), size):
        yield by_crs[start : start + size]


def lonlat_bounds(grids: Grids) -> Floats:
    """(n, 4) west, south, east, north in degrees; east < west across 180; NaN where unknown."""
    bounds = np.full((len(grids), 4), np.nan)
    for rows in batches(grids):
        bounds[rows] = _lonlat_bounds(grids.take(rows))
    return bounds


def _lonlat_bounds(grids: Grids) -> Floats:
    bounds = np.full((len(grids), 4), np.nan)
    found = outlines(grids, LONLAT, np.full((len(grids), 2), 1e-3), segments=4)
    boxes = shapely.bounds(found.geometry)
    single = np.bincount(found.grid, minlength=len(grids))[found.grid] == 1
    bounds[found.grid[single]] = boxes[single]
    for row in np.unique(found.grid[~single]):
        mine = boxes[found.grid == row]
        east, west = mine[mine[:, 2] >= 180.0], mine[mine[:, 0] <= -180.0]
        # round a pole both parts end at one meridian, but for rounding
        whole = not len(east) or not len(west) or east[:, 0].min() <= west[:, 2].max() + 1e-9
        bounds[row] = (
            -180.0 if whole else east[:, 0].min(),
            mine[:, 1].min(),
            180.0 if whole else west[:, 2].max(),
            mine[:, 3].max(),
        )
    return bounds


def box_bounds(box: Bounds, name: str, target: str) -> Bounds | None:
    """Bounds in one CRS of a box in another, following its edges; None if it has no place there.

    In degrees east < west means across 180 degrees. What crosses the edge of the map is turned on
    beyond its right one, so that it stays in one part.
    """
    west, south, east, north = box
    if east < west:
        east += 360.0
    size = 1024
    transform = ((east - west) / size, 0.0, west, 0.0, -(north - south) / size, north)
    grids = Grids.one(name, (size, size), transform)
    if name == target:
        return west, south, east, north
    pixel = np.fmax(np.nan_to_num(pixel_extent(grids, target)[1], nan=0.0), 1e-9)
    parts = shapely.bounds(outlines(grids, target, pixel).geometry)
    if not len(parts):
        return None
    whole = world(target)
    edge = None if whole is None else 1e-6 * (whole[2] - whole[0])
    if whole is not None and edge is not None and len(parts) > 1:
        at_left, at_right = parts[:, 0] <= whole[0] + edge, parts[:, 2] >= whole[2] - edge
        if at_left.any() and at_right.any() and not (at_left & at_right).any():
            parts[at_left] += [whole[2] - whole[0], 0.0, whole[2] - whole[0], 0.0]
    low, high = parts[:, :2].min(0).tolist(), parts[:, 2:].max(0).tolist()
    return (low[0], low[1], high[0], high[1])


def lonlat_union(bounds: Floats) -> Bounds:
    """The smallest box in degrees around boxes (n, 4); east < west when it crosses 180."""
    known = bounds[~np.isnan(bounds).any(1)]
    if not len(known):
        return (-180.0, -90.0, 180.0, 90.0)
    south, north = float(known[:, 1].min()), float(known[:, 3].max())
    west = np.mod(known[:, 0] + 180.0, 360.0)
    width = np.mod(known[:, 2] - known[:, 0], 360.0)
    width[(width == 0) & (known[:, 2] != known[:, 0])] = 360.0
    order = np.argsort(west, kind="stable")
    west, east = west[order], np.maximum.accumulate((west + width)[order])
    # the widest empty arc, also the one from the last box round to the first
    gap = west[0] + 360.0 - east[-1]
    east = np.maximum(east, east[-1] - 360.0)  # a box that goes round covers the first ones too
    gaps = np.append(west[1:] - east[:-1], gap)
    widest = int(np.argmax(gaps))
    if gaps[widest] <= 0:
        return (-180.0, south, 180.0, north)
    start = west[(widest + 1) % len(west)]
    end = east[widest]
    degrees = [round(float((value + 360.0) % 360.0 - 180.0), 9) for value in (start, end)]
    if degrees[1] == -180.0:
        degrees[1] = 180.0
    return (degrees[0], south, degrees[1], north)


def meets(bounds: Floats, box: Bounds) -> Bools:
    """(n,) whether boxes in degrees touch another; all may cross 180 degrees."""
    width = np.mod(bounds[:, 2] - bounds[:, 0], 360.0)
    width[(width == 0) & (bounds[:, 2] != bounds[:, 0])] = 360.0
    other = (box[2] - box[0]) % 360.0 or (360.0 if box[2] != box[0] else 0.0)
    with np.errstate(invalid="ignore"):
        east = np.mod(box[0] - bounds[:, 0], 360.0) <= width
        west = np.mod(bounds[:, 0] - box[0], 360.0) <= other
        across: Bools = (east | west) & (bounds[:, 1] <= box[3]) & (bounds[:, 3] >= box[1])
    return across


def grown(geometry: Geometries, pixel: Floats, smooth: Bools, target: str) -> Geometries:
    """Polygons grown by 1 to 2 pixels, with as few corners as that takes.

    ``pixel``: (m, 2) width and height of each polygon's pixel in its CRS. ``smooth``: (m,)
    which polygons are whole outlines, as :func:`outlines` makes them (``plain``). Polygons are
    cut at the edge of the world in a CRS that has one. The growth is what keeps GDAL from
    dropping a tile whose extent it rounds outward (:mod:`mosaic.reach` cuts off what is too
    much); few corners keep indexes small.
    """
    out = np.empty(len(geometry), object)
    counts = np.where(smooth, shapely.get_num_coordinates(geometry), 0)
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        grow = _grown_rings if count else _grown_any
        out[rows] = grow(geometry[rows], pixel[rows])
    whole = world(target)
    if whole:
        over = ~_within(shapely.bounds(out), whole)
        out[over] = shapely.intersection(out[over], shapely.box(*whole))
    return out


def _grown_any(geometry: Geometries, pixel: Floats) -> Geometries:
    """Any polygons, grown by 1.4 to 2 pixels."""
    unit = shapely.simplify(_scaled(geometry, 1.0 / pixel), 0.3)
    unit = shapely.buffer(unit, GROWTH + 0.2, join_style="mitre", mitre_limit=2.0)
    return _scaled(unit, pixel)


def _grown_rings(geometry: Geometries, pixel: Floats) -> Geometries:
    """Outlines with equally many points a side, grown by 1 to 2 pixels.

    Each side becomes the fewest equal parts whose chord the outline leaves by no more than
    :data:`SPREAD`; chords are moved outward by as much as puts the outline amid 1 to 2 pixels.
    """
    closed = shapely.get_coordinates(geometry).reshape(len(geometry), -1, 2) / pixel[:, None]
    segments = (closed.shape[1] - 1) // 4
    area = np.sum(closed[:, :-1, 0] * closed[:, 1:, 1] - closed[:, 1:, 0] * closed[:, :-1, 1], 1)
    # sides run clockwise: what lies to their left is outside, unless the raster is mirrored
    closed[area > 0] = closed[area > 0, ::-1]
    index = np.arange(4)[:, None] * segments + np.arange(segments + 1)
    sides = closed[:, index].reshape(-1, segments + 1, 2)
    parts = _parts(sides)
    first = np.concatenate([[0], np.cumsum(parts)])
    start, normal = np.empty((2, first[-1], 2))
    out = np.empty(first[-1])
    for count in np.unique(parts):
        rows = np.flatnonzero(parts == count)
        where = (first[rows, None] + np.arange(count)).ravel()
        begin, left, low, high = _chords(sides[rows], count)
        start[where], normal[where] = begin.reshape(-1, 2), left.reshape(-1, 2)
        out[where] = (GROWTH + (low + high) / 2).ravel()
    ring = np.repeat(np.arange(len(geometry)), np.add.reduceat(parts, np.arange(0, len(parts), 4)))
    before = np.arange(len(ring)) - 1
    begins = first[:-1:4]
    before[begins] = first[4::4] - 1
    # a corner is where the two moved lines meet; between chords of one side it is half way
    n, p = normal, normal[before]
    turn = p[:, 0] * n[:, 1] - p[:, 1] * n[:, 0]
    corner = np.zeros(len(ring), bool)
    corner[first[:-1]] = True
    moved = start + (n * out[:, None] + p * out[before][:, None]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        x = (out[before] * n[:, 1] - out * p[:, 1]) / turn
        y = (out * p[:, 0] - out[before] * n[:, 0]) / turn
    moved[corner] = (start + np.column_stack([x, y]))[corner]
    sharp = np.zeros(len(geometry), bool)
    sharp[ring[corner & (np.abs(turn) < 0.25)]] = True
    flat = shapely.linearrings(np.where(np.isfinite(moved), moved, 0.0) * pixel[ring], indices=ring)
    result: Geometries = shapely.polygons(flat)
    sharp |= ~shapely.is_valid(result)
    result[sharp] = _grown_any(geometry[sharp], pixel[sharp])
    return result


def _parts(sides: Floats) -> npt.NDArray[np.int64]:
    """(n,) fewest equal parts of each side (n, points, 2) that follow it well enough."""
    segments = sides.shape[1] - 1
    divisors = np.array([d for d in range(1, segments + 1) if segments % d == 0])
    _, _, low, high = _chords(sides, 1)
    # the sag of a part goes with the square of its length
    guess = np.sqrt((high - low)[:, 0] / SPREAD)
    choice = np.minimum(np.searchsorted(divisors, guess), len(divisors) - 1)
    pending = np.arange(len(sides))
    while len(pending):
        failed = []
        for place in np.unique(choice[pending]):
            rows = pending[choice[pending] == place]
            _, _, low, high = _chords(sides[rows], divisors[place])
            failed.append(rows[(high - low).max(1) > SPREAD])
        pending = np.concatenate(failed)
        pending = pending[choice[pending] < len(divisors) - 1]
        choice[pending] += 1
    return divisors[choice]


def _chords(sides: Floats, count: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Begin and left normal (n, count, 2) of the equal parts of sides, and how far to the right
    and left (n, count) the side leaves each chord."""
    step = (sides.shape[1] - 1) // count
    begin, end = sides[:, :-1:step], sides[:, step::step]
    along = end - begin
    length = np.hypot(along[..., 0], along[..., 1])[..., None]
    left = np.stack([-along[..., 1], along[..., 0]], axis=-1) / np.where(length > 0, length, 1.0)
    inner = sides[:, :-1].reshape(len(sides), count, step, 2) - begin[:, :, None]
    off = inner[..., 0] * left[..., None, 0] + inner[..., 1] * left[..., None, 1]
    return begin, left, off.min(-1), off.max(-1)


def _within(bounds: Floats, whole: Bounds) -> Bools:
    inside: Bools = np.all((bounds[:, :2] >= whole[:2]) & (bounds[:, 2:] <= whole[2:]), axis=1)
    return inside


def _scaled(geometry: Geometries, factor: Floats) -> Geometries:
    copies = np.array(geometry, dtype=object)
    points, index = shapely.get_coordinates(copies, return_index=True)
    scaled: Geometries = shapely.set_coordinates(copies, points * factor[index])
    return scaled


def _ring(segments: int) -> tuple[Floats, Floats]:
    """Fractions of width and height around the edge, from the upper left, not closed."""
    side = np.arange(segments) / segments
    one, zero = np.ones(segments), np.zeros(segments)
    u = np.concatenate([side, one, 1 - side, zero])
    v = np.concatenate([zero, side, one, 1 - side])
    return u, v


def _smooth(
    grids: Grids, name: str, target: str, pixel: Floats, segments: int
) -> tuple[Bools, Geometries]:
    """Which grids have a whole, unbroken outline in the target CRS, and those outlines."""
    smooth = np.zeros(len(grids), bool)
    result = np.empty(len(grids), dtype=object)
    pending = np.arange(len(grids))
    cut = seam(target)
    while len(pending) and segments <= MOST_SEGMENTS:
        here = grids.take(pending)
        u, v = _ring(2 * segments)
        x, y = here.xy(u, v)
        px, py = project(name, target, x, y)
        good: Bools = np.all(np.isfinite(px) & np.isfinite(py), axis=1)
        # a few points tell whether the raster lies on the map; a jump between them shows
        # as a chord that never comes near its curve
        few = np.s_[:, :: max(1, segments // 4)]
        good &= _comes_back(name, target, x[few], y[few], px[few], py[few], here.pixel).all(1)
        if cut is not None:
            if is_geographic(name) or not is_geographic(target):
                lon = _longitudes(name, x[few], y[few])
            else:
                lon = _unwrapped(px[few])
            good &= ~_breaks(lon, cut)
        pending, px, py = pending[good], px[good], py[good]
        before, middle, after = slice(0, None, 2), slice(1, None, 2), np.s_[2::2]
        wrapped_x = np.concatenate([px[:, after], px[:, :1]], axis=1)
        wrapped_y = np.concatenate([py[:, after], py[:, :1]], axis=1)
        off_x = np.abs((px[:, before] + wrapped_x) / 2 - px[:, middle]) / pixel[pending, :1]
        off_y = np.abs((py[:, before] + wrapped_y) / 2 - py[:, middle]) / pixel[pending, 1:]
        done = (np.hypot(off_x, off_y) <= TOLERANCE).all(1)
        ring = np.stack([px[done][:, before], py[done][:, before]], axis=-1)
        result[pending[done]] = shapely.polygons(ring)
        smooth[pending[done]] = True
        pending = pending[~done]
        segments *= 2
    return smooth, result[smooth]


def _comes_back(
    name: str, target: str, x: Floats, y: Floats, px: Floats, py: Floats, pixel: Floats
) -> Bools:
    """(n, points) whether a projected point returns to where it came from, within half a pixel.

    A point beyond the domain of either projection doesn't: a satellite disc's corner, a
    sinusoidal tile's empty side.
    """
    finite = np.isfinite(px) & np.isfinite(py)
    if name == target:
        return finite
    bx, by = transformer(name, target).transform(
        np.where(finite, px, 0.0).ravel(),
        np.where(finite, py, 0.0).ravel(),
        direction=TransformDirection.INVERSE,
    )
    dx, dy = np.reshape(bx, x.shape) - x, np.reshape(by, y.shape) - y
    if is_geographic(name):
        dx = (dx + 180.0) % 360.0 - 180.0
    with np.errstate(invalid="ignore"):
        near: Bools = np.hypot(dx, dy) <= 0.5 * pixel[:, None]
    return finite & near


def _longitudes(name: str, x: Floats, y: Floats) -> Floats:
    """(n, points + 1) longitudes along closed rings, unwrapped: they may leave -180 to 180."""
    if is_geographic(name):
        # a raster's own degrees say which way round it lies, even from 0 to 360
        return np.concatenate([x, x[:, :1]], axis=1)
    return _unwrapped(project(name, LONLAT, x, y)[0])


def _unwrapped(lon: Floats) -> Floats:
    closed = np.concatenate([lon, lon[:, :1]], axis=1)
    unwrapped: Floats = np.unwrap(closed, axis=1, period=360.0)
    return unwrapped


def _breaks(lon: Floats, cut: float) -> Bools:
    """(n,) whether rings, unwrapped, cross the meridian ``cut`` or go round a pole."""
    eps = 1e-9
    # the meridians cut + 360 k that lie strictly between the least and the greatest longitude
    first = np.floor((lon.min(1) - cut) / 360.0 + eps) + 1
    last = np.ceil((lon.max(1) - cut) / 360.0 - eps) - 1
    broken: Bools = (first <= last) | (np.abs(lon[:, -1] - lon[:, 0]) > 180.0)
    return broken


def _pieces(grid: Grids, name: str, target: str) -> list[shapely.Polygon]:
    """Outline of one grid that isn't smooth in the target CRS, in pieces."""
    # a hull of points, where the map has no edge to cut at, needs them dense
    dense = int(np.clip(grid.shape.max() // 2, MOST_SEGMENTS, 4096))
    u, v = _ring(MOST_SEGMENTS if seam(target) is not None else dense)
    x, y = grid.xy(u, v)
    px, py = project(name, LONLAT, x, y)
    if not _comes_back(name, LONLAT, x, y, px, py, grid.pixel).all():
        return _from_lattice(grid, name, target)
    lon, lat = _longitudes(name, x, y)[0], np.append(py[0], py[0, 0])
    round_pole = abs(lon[-1] - lon[0]) > 180.0
    if round_pole:
        pole = 90.0 if lat.mean() > 0 else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    pieces = _cut(shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat]))), target)
    if not round_pole:
        return pieces
    merged = shapely.union_all(pieces)
    return [part for part in shapely.get_parts(merged) if part.geom_type == "Polygon"]


def _cut(lonlat: shapely.Geometry, target: str) -> list[shapely.Polygon]:
    """Pieces, in the target CRS, of a polygon in unwrapped degrees."""
    cut, whole = seam(target), world(target)
    if cut is None or whole is None:
        xy = _mapped(lonlat, target)
        return [] if xy is None else [xy]
    top = 90.0 if is_geographic(target) else 85.06
    west, _, east, _ = lonlat.bounds
    pieces: list[shapely.Polygon] = []
    for k in range(int(np.floor((west - cut) / 360.0)), int(np.ceil((east - cut) / 360.0)) + 1):
        strip = shapely.box(cut + 360.0 * k, -top, cut + 360.0 * (k + 1), top)
        for part in shapely.get_parts(shapely.intersection(lonlat, strip)):
            if part.geom_type == "Polygon" and part.area > 0:
                middle = cut + 360.0 * k + 180.0
                home = (middle + 180.0) % 360.0 - 180.0
                shifted = shapely.transform(part, lambda c, m=middle, h=home: c - [m - h, 0.0])
                pieces.append(_on_map(shifted, home, target, whole))
    return pieces


def _on_map(part: shapely.Polygon, middle: float, target: str, whole: Bounds) -> shapely.Polygon:
    """A polygon in degrees within 180 of ``middle`` on a map that is cut 180 degrees away."""
    if is_geographic(target):
        return part
    points = shapely.get_coordinates(part)
    # keep a hair from the cut, where PROJ may answer with either edge; then snap to the edge
    offset = np.clip(points[:, 0] - middle, -180.0 + 1e-12, 180.0 - 1e-12)
    x, y = project(LONLAT, target, middle + offset, points[:, 1])
    x = np.where(offset >= 180.0 - 1e-9, whole[2], np.where(offset <= -180.0 + 1e-9, whole[0], x))
    return shapely.set_coordinates(shapely.Polygon(part), np.column_stack([x, y]))


def _mapped(lonlat: shapely.Geometry, target: str) -> shapely.Polygon | None:
    points = shapely.get_coordinates(lonlat)
    x, y = project(LONLAT, target, points[:, 0], points[:, 1])
    good = np.isfinite(x) & np.isfinite(y)
    if good.sum() < 3:
        return None
    return shapely.MultiPoint(np.column_stack([x[good], y[good]])).convex_hull


def _from_lattice(grid: Grids, name: str, target: str) -> list[shapely.Polygon]:
    """A box around what can be projected of a raster that lies partly off the map.

    Larger than the truth by up to one step of a 129-point lattice on each side.
    """
    steps = np.linspace(0.0, 1.0, 129)
    u, v = (axis.ravel() for axis in np.meshgrid(steps, steps))
    x, y = grid.xy(u, v)
    through = LONLAT if seam(target) is not None else target
    px, py = project(name, through, x, y)
    good = _comes_back(name, through, x, y, px, py, grid.pixel)[0]
    if good.sum() < 3:
        return []
    px, py = px[0][good], py[0][good]
    if through == target:
        box = _grown_box(px, py, len(steps))
        return [shapely.box(*box)]
    middle = np.degrees(np.angle(np.exp(1j * np.radians(px)).mean()))
    px = (px - middle + 180.0) % 360.0 - 180.0 + middle
    west, south, east, north = _grown_box(px, py, len(steps))
    if east - west >= 340.0:
        west, east = -180.0, 180.0
    north, south = min(north, 90.0), max(south, -90.0)
    return _cut(shapely.segmentize(shapely.box(west, south, east, north), 1.0), target)


def _grown_box(x: Floats, y: Floats, count: int) -> Bounds:
    dx, dy = np.ptp(x) / (count - 1), np.ptp(y) / (count - 1)
    return (
        float(x.min() - dx),
        float(y.min() - dy),
        float(x.max() + dx),
        float(y.max() + dy),
    )
