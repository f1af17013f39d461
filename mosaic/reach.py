"""How far GDAL takes a tile of an index to reach: the pixels that a footprint may not leave.

GDAL 3.10 asks the footprints which tiles a window needs. When one of them turns out to lie beside
the window, it forgets all that lie above it (``CollectSources`` cuts its list there), and what is
left is zeros, without an error. So no footprint leaves the pixels that GDAL gives its tile. Nor
may it end more than a pixel within them: GDAL 3.13 drops a tile that it warps itself when the
footprint's bounds, a pixel larger, hold its corners but not all of those pixels.

A tile in the mosaic's CRS has its own bounds. One that GDAL warps has the bounds that
``GDALSuggestedWarpOutput2`` finds, snapped outward to the mosaic's pixels: the extremes of points
along the raster's edge, and towards right and bottom whole pixels of the diagonal's size.
Source: GDAL 3.10.3 and 3.14, ``gdaltileindexdataset.cpp`` and ``gdaltransformer.cpp``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from mosaic.grid import Floats, moves_datum, world

Geometries = npt.NDArray[np.object_]
Bools = npt.NDArray[np.bool_]

INSET = 0.25
"""Pixels of the mosaic by which a footprint stays within its tile's."""
SLIVER = 1e-3
"""Part of a pixel that GDAL leaves out at a tile's edge; also what its bounds are trusted to."""


def foretold(source: str, target: str, transforms: Floats, shape: npt.NDArray[np.int64]) -> Bools:
    """(n,) whether the bounds of warped rasters can be told before GDAL finds them.

    Not between datums that differ, where GDAL may take another shift than the PROJ at hand, nor of
    rasters round half the world and more, whose edges are far from parabolas.
    """
    if moves_datum(source, target):
        return np.zeros(len(shape), bool)
    whole = world(source)
    if whole is None:
        return np.ones(len(shape), bool)
    across = np.abs(transforms[:, [0, 1]]) * shape[:, [1, 0]]
    found: Bools = across.sum(axis=1) < (whole[2] - whole[0]) / 2
    return found


def suggested(rings: Floats, shape: npt.NDArray[np.int64]) -> Floats:
    """(n, 4) bounds that GDAL finds at most when it warps rasters.

    ``rings``: (n, 4 s + 1, 2) closed outlines, s segments a side, from the upper left corner on.
    ``shape``: (n, 2) heights and widths. Where GDAL's points may miss the extreme of a curved
    edge, or a size may be rounded either way, the larger bounds are taken.
    """
    height, width = shape.T
    near, far = _extremes(-rings, shape), _extremes(rings, shape)
    low, high = -near[1], far[1]
    corners = rings[:, (rings.shape[1] - 1) // 2] - rings[:, 0]
    flat = (corners == 0).any(axis=1)
    corners[flat] = (high - low)[flat]
    size = np.hypot(corners[:, 0], corners[:, 1]) / np.hypot(width, height)
    with np.errstate(divide="ignore", invalid="ignore"):
        count = np.maximum(1.0, np.floor((high - low) / size[:, None] + 0.5 + 1e-6))
    right = -near[0][:, 0] + count[:, 0] * size
    bottom = far[0][:, 1] - count[:, 1] * size
    return np.column_stack([low[:, 0], bottom, right, high[:, 1]])


def _extremes(rings: Floats, shape: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(n, 2) least and greatest value that GDAL may find for the maximum of x and of y.

    Round its extreme an edge is a parabola; GDAL takes corners, and 21 to 101 points an edge.
    """
    count = rings.shape[1] - 1
    ring = rings[:, :-1]
    at = ring.argmax(axis=1)
    corner = at % (count // 4) == 0

    def value(step: npt.NDArray[np.int64] | int) -> Floats:
        found: Floats = np.take_along_axis(ring, ((at + step) % count)[:, None], axis=1)[:, 0]
        return found

    top = value(0)
    most, bend = top, np.zeros_like(top)
    for side in (-1, 1):
        # from a corner on each edge has a parabola of its own
        one, other = value(side), value(np.where(corner, 2 * side, -side))
        bend = np.where(corner, 2 * one - top - other, 2 * top - one - other).clip(min=0.0)
        slope = np.where(corner, one - top + bend / 2, (one - other) / 2).clip(0.0, bend / 2)
        most = np.fmax(most, top + slope**2 / (2 * np.fmax(bend, 1e-300)))
    taken = np.clip(np.floor(shape.min(axis=1) / 50 + 0.5), 20, 100)
    missed = bend * (count / 4 / taken[:, None]) ** 2 / 8
    return np.where(corner, top, most - missed), most


def fitted(
    footprints: Geometries,
    outlines: Floats,
    bounds: Floats,
    snapped: Bools,
    cut: bool,
    grid: Affine,
) -> Geometries:
    """Footprints that stay within their tiles' pixels, and yet meet all pixels with data.

    ``outlines``: (n, 4) bounds of the scenes; ``bounds``: (n, 4) those that GDAL gives the tiles.
    ``snapped``: (n,) tiles whose bounds GDAL snaps outward to the mosaic's pixels. ``cut``: they
    are VRTs. ``grid``: pixel (column, row) of the mosaic to its CRS.

    Corners beyond are moved to the edge, which adds none, and leaves room for every pixel whose
    middle lies in the scene. Where GDAL crops a scene, or a tile is a VRT (its corners may be
    sharp), a corner would take pixels along: there it is cut off.
    """
    box = _inner(bounds, snapped, grid)
    copies = np.array(footprints, dtype=object)
    points, index = shapely.get_coordinates(copies, return_index=True)
    moved = np.clip(points, box[index, :2], box[index, 2:])
    fit: Geometries = shapely.set_coordinates(copies, moved)
    pixel = np.array([grid.a, -grid.e, -grid.a, grid.e])
    cropped = ((box - outlines) / pixel > INSET + 0.1).any(axis=1)
    rows = np.flatnonzero(cropped | ~shapely.is_valid(fit) | cut)
    for row, sides in zip(rows.tolist(), box[rows].tolist(), strict=True):
        part = shapely.clip_by_rect(footprints[row], *sides)
        if part.geom_type == "Polygon":
            fit[row] = part
    return fit


def _inner(bounds: Floats, snapped: Bools, grid: Affine) -> Floats:
    """(n, 4) bounds a quarter of a pixel, or half of a narrower last one, within tiles' pixels."""
    origin = np.array([grid.c, grid.f, grid.c, grid.f])
    size = np.array([grid.a, grid.e, grid.a, grid.e])
    # left, top, right, bottom in pixels, growing outward
    sign = np.array([-1.0, -1.0, 1.0, 1.0])
    end = sign * (bounds[:, [0, 3, 2, 1]] - origin) / size
    last = np.ceil(end + np.where(snapped, SLIVER, -SLIVER)[:, None])
    end = np.where(snapped[:, None], last, end)
    with np.errstate(invalid="ignore"):  # infinite where GDAL's bounds can't be told
        within = np.fmin(INSET, (end - last + 1.0) / 2)
    found: Floats = sign * (end - within) * size + origin
    return found[:, [0, 3, 2, 1]]
