"""Pairs of grids that between them have every difficulty, and PROJ at every pixel as truth."""

from __future__ import annotations

import numpy as np

from mosaic.engine.lattice import Grid, Lattice
from mosaic.grid import Floats, project, world


def grid(crs: str, shape: tuple[int, int], left: float, top: float, size: float) -> Grid:
    """An upright grid of square pixels."""
    return Grid(crs, shape, (size, 0.0, left, 0.0, -size, top))


def around(crs: str, lon: float, lat: float, pixels: int, size: float) -> Grid:
    """A square grid around a place, its corner on a whole pixel."""
    x, y = project("OGC:CRS84", crs, np.array([lon]), np.array([lat]))
    half = pixels / 2
    left, top = (round(float(v[0]) / size) * size for v in (x, y))
    return grid(crs, (pixels, pixels), left - half * size, top + half * size, size)


WORLD = grid("EPSG:4326", (1800, 3600), -180.0, 90.0, 0.1)

PAIRS = {
    "32632 to 32633": (
        around("EPSG:32633", 12.0, 47.5, 600, 10.0),
        around("EPSG:32632", 12.0, 47.5, 700, 10.0),
    ),
    "33 to 32, skewed": (
        Grid("EPSG:32632", (500, 500), (9.0, 3.0, 718000.0, 3.0, -9.0, 5268000.0)),
        around("EPSG:32633", 12.0, 47.5, 900, 10.0),
    ),
    "32632 to 3857": (
        around("EPSG:3857", 11.0, 47.5, 600, 10.0),
        around("EPSG:32632", 11.0, 47.5, 700, 10.0),
    ),
    "32632 to 3035": (
        around("EPSG:3035", 11.9, 47.5, 600, 10.0),
        around("EPSG:32632", 11.9, 47.5, 700, 10.0),
    ),
    "32632 to 4326": (
        around("EPSG:4326", 9.5, 47.5, 600, 0.0001),
        around("EPSG:32632", 9.5, 47.5, 900, 10.0),
    ),
    "32624 to 3413": (
        around("EPSG:3413", -40.0, 70.0, 600, 10.0),
        around("EPSG:32624", -40.0, 70.0, 800, 10.0),
    ),
    "32701 to 3031": (
        around("EPSG:3031", -178.0, -77.0, 600, 10.0),
        around("EPSG:32701", -178.0, -77.0, 800, 10.0),
    ),
    "32601 to 4326 across 180": (
        grid("EPSG:4326", (400, 800), 179.96, 65.02, 0.0001),
        around("EPSG:32601", -180.0, 65.0, 1000, 10.0),
    ),
    "4326 across 180 to 32601": (
        around("EPSG:32601", -180.0, 65.0, 500, 10.0),
        grid("EPSG:4326", (1000, 2000), 179.9, 65.05, 0.0001),
    ),
    "4326 from 0 to 360": (grid("EPSG:4326", (90, 720), 0.3, 45.0, 0.49), WORLD),
    "world to 3857": (grid("EPSG:3857", (300, 300), -20037508.3, 19900000.0, 132771.0), WORLD),
    "world to 3031": (grid("EPSG:3031", (400, 400), -3e6, 3e6, 15013.0), WORLD),
    "3031 to degrees beyond the pole": (
        Grid("EPSG:4326", (142, 169), (0.591716, 0.0, -82.13129, 0.0, -0.0628818, -81.0707869)),
        Grid("EPSG:3031", (260, 292), (1128.6742, 0.0, -98292.4345, 0.0, -1128.6742, 53569.2665)),
    ),
    "world to 3413 coarse": (grid("EPSG:3413", (100, 100), -5e6, 5e6, 100003.0), WORLD),
    "a small scene on a coarse world": (
        grid("EPSG:4326", (900, 1800), -180.0, 90.0, 0.2),
        around("EPSG:32632", 9.0, 47.5, 1098, 100.0),
    ),
    "orthographic, half empty": (
        grid("+proj=ortho +lat_0=40 +lon_0=170", (300, 300), -7e6, 7e6, 46700.0),
        WORLD,
    ),
}


def exact(target: Grid, source: Grid, corners: bool = False) -> tuple[Floats, Floats]:
    """(h, w) source columns and rows of every target pixel, by PROJ."""
    shift = 0.0 if corners else 0.5
    row, column = np.mgrid[: target.shape[0], : target.shape[1]] + shift
    x, y = project(target.crs, source.crs, *target.xy(column, row))
    whole = world(source.crs)
    if whole is not None:
        turn = whole[2] - whole[0]
        middle = source.xy(np.array(source.shape[1] / 2), np.array(source.shape[0] / 2))[0]
        with np.errstate(invalid="ignore"):
            x = x - np.floor((x - middle) / turn + 0.5) * turn
    column, row = source.pixel(x, y)
    return column, row


def interpolated(made: Lattice, source: Grid) -> tuple[Floats, Floats]:
    """(h, w) source columns and rows that a lattice stands for; NaN where it has no piece."""
    column, row = np.full(made.shape, np.nan), np.full(made.shape, np.nan)
    for k, (r0, c0, r1, c1) in enumerate(made.target):
        r, c = np.arange(r0, r1) - made.origin[k, 0], np.arange(c0, c1) - made.origin[k, 1]
        size = int(made.size[k])
        places = [
            nodes[np.ix_(r, c)]
            if size == 2
            else _lagrange(r / size) @ nodes @ _lagrange(c / size).T
            for nodes in (made.column[k], made.row[k])
        ]
        inside = (places[0] >= 0) & (places[0] < source.shape[1])
        old = column[r0:r1, c0:c1]
        keep = np.isnan(old) | inside
        column[r0:r1, c0:c1] = np.where(keep, places[0], old)
        row[r0:r1, c0:c1] = np.where(keep, places[1], row[r0:r1, c0:c1])
    return column, row


def _lagrange(t: Floats) -> Floats:
    """(n, 3) weights of values at 0, 1/2 and 1."""
    return np.stack([(1 - 2 * t) * (1 - t), 4 * t * (1 - t), t * (2 * t - 1)], axis=1)
