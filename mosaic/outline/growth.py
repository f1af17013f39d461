"""Footprints: outlines grown by 1 to 2 pixels, with few corners."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from mosaic.grid import Bounds, Floats, world
from mosaic.outline.edges import Geometries
from mosaic.outline.rings import Bools

GROWTH = 1.5
"""Pixels by which footprints are grown, on average: 1 to 2 hold all that GDAL snaps outward."""
SPREAD = 0.9
"""Pixels within which an outline may leave the side of its footprint."""


def grown(geometry: Geometries, pixel: Floats, smooth: Bools, target: str) -> Geometries:
    """Polygons grown by 1 to 2 pixels, with as few corners as that takes.

    ``pixel``: (m, 2) width and height of each polygon's pixel in its CRS. ``smooth``: (m,)
    which polygons are whole outlines: ``plain`` of :class:`~mosaic.outline.edges.Outlines`.
    Polygons are cut at the edge of the world in a CRS that has one. The growth is what keeps GDAL
    from dropping a tile whose extent it rounds outward (:mod:`mosaic.reach` cuts off what is too
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
    unit = shapely.simplify(scaled(geometry, 1.0 / pixel), 0.3)
    unit = shapely.buffer(unit, GROWTH + 0.2, join_style="mitre", mitre_limit=2.0)
    return scaled(unit, pixel)


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


def scaled(geometry: Geometries, factor: Floats) -> Geometries:
    """Copies of polygons whose coordinates are multiplied, each by its (x, y) of (n, 2)."""
    copies = np.array(geometry, dtype=object)
    points, index = shapely.get_coordinates(copies, return_index=True)
    made: Geometries = shapely.set_coordinates(copies, points * factor[index])
    return made
