"""Outlines in pieces: cut where a map is cut, closed at a pole, partly off the map."""

from __future__ import annotations

import numpy as np
import shapely

from mosaic.grid import LONLAT, Bounds, Floats, Grids, is_geographic, project, seam, world
from mosaic.outline.rings import MOST_SEGMENTS, along_edge, comes_back, longitudes


def in_pieces(grid: Grids, name: str, target: str) -> list[shapely.Polygon]:
    """Outline of one grid that isn't smooth in the target CRS, in pieces."""
    # a hull of points, where the map has no edge to cut at, needs them dense
    dense = int(np.clip(grid.shape.max() // 2, MOST_SEGMENTS, 4096))
    u, v = along_edge(MOST_SEGMENTS if seam(target) is not None else dense)
    x, y = grid.xy(u, v)
    px, py = project(name, LONLAT, x, y)
    if not comes_back(name, LONLAT, x, y, px, py, grid.pixel).all():
        return _from_lattice(grid, name, target)
    lon, lat = longitudes(name, x, y)[0], np.append(py[0], py[0, 0])
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
    good = comes_back(name, through, x, y, px, py, grid.pixel)[0]
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
