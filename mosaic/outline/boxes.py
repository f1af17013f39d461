"""Boxes: of rasters in degrees and in other CRSs, across 180 degrees too; joined, compared."""

from __future__ import annotations

import numpy as np
import shapely

from mosaic.grid import LONLAT, Bounds, Floats, Grids, pixel_extent, world
from mosaic.outline.edges import Outlines, batches, outlines
from mosaic.outline.rings import Bools


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
    if name == target:
        west, south, east, north = box
        return west, south, east + 360.0 if east < west else east, north
    parts = shapely.bounds(box_outlines(box, name, target).geometry)
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


def box_outlines(box: Bounds, name: str, target: str) -> Outlines:
    """Outlines in one CRS of a box in another; in degrees east < west means across 180 degrees."""
    west, south, east, north = box
    if east < west:
        east += 360.0
    size = 1024
    transform = ((east - west) / size, 0.0, west, 0.0, -(north - south) / size, north)
    grids = Grids.one(name, (size, size), transform)
    pixel = np.fmax(np.nan_to_num(pixel_extent(grids, target)[1], nan=0.0), 1e-9)
    return outlines(grids, target, pixel)


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
