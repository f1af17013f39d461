"""Outlines by columns: whole ones, point by point along the edge, and others in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from mosaic.grid import Floats, Grids, is_geographic, project, seam
from mosaic.outline.pieces import in_pieces
from mosaic.outline.rings import (
    MOST_SEGMENTS,
    Bools,
    along_edge,
    breaks,
    comes_back,
    longitudes,
    unwrapped,
)

Geometries = npt.NDArray[np.object_]

SEGMENTS = 24
"""Segments a side to start with; GDAL samples an edge at 21 points."""
TOLERANCE = 0.1
"""Largest distance between chord and curve, in pixels."""
_AT_ONCE = 1 << 14
"""Grids whose edges are in memory at a time."""


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
            pieces = in_pieces(grids.take(np.array([row])), name, target)
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


def batches(grids: Grids) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of grids in parts, so that the points of their edges fit in memory."""
    by_crs = np.argsort(grids.crs_index, kind="stable")
    for start in range(0, len(by_crs), _AT_ONCE):
        yield by_crs[start : start + _AT_ONCE]


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
        u, v = along_edge(2 * segments)
        x, y = here.xy(u, v)
        px, py = project(name, target, x, y)
        good: Bools = np.all(np.isfinite(px) & np.isfinite(py), axis=1)
        # a few points tell whether the raster lies on the map; a jump between them shows
        # as a chord that never comes near its curve
        few = np.s_[:, :: max(1, segments // 4)]
        good &= comes_back(name, target, x[few], y[few], px[few], py[few], here.pixel).all(1)
        if cut is not None:
            if is_geographic(name) or not is_geographic(target):
                lon = longitudes(name, x[few], y[few])
            else:
                lon = unwrapped(px[few])
            good &= ~breaks(lon, cut)
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
