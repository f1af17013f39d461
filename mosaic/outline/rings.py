"""Rings of points along the edges of rasters: projected, come back, unwrapped."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pyproj.enums import TransformDirection

from mosaic.grid import LONLAT, Floats, is_geographic, project, transformer, turn

Bools = npt.NDArray[np.bool_]

MOST_SEGMENTS = 768
"""Segments a side at most; an edge that needs more is taken for broken."""


def along_edge(segments: int) -> tuple[Floats, Floats]:
    """Fractions of width and height around the edge, from the upper left, not closed."""
    side = np.arange(segments) / segments
    one, zero = np.ones(segments), np.zeros(segments)
    u = np.concatenate([side, one, 1 - side, zero])
    v = np.concatenate([zero, side, one, 1 - side])
    return u, v


def comes_back(
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
    whole = turn(name)
    if whole is not None:  # beyond the edge of a map is the same place
        dx = (dx + whole / 2) % whole - whole / 2
    with np.errstate(invalid="ignore"):
        near: Bools = np.hypot(dx, dy) <= 0.5 * pixel[:, None]
    return finite & near


def longitudes(name: str, x: Floats, y: Floats) -> Floats:
    """(n, points + 1) longitudes along closed rings, unwrapped: they may leave -180 to 180."""
    if is_geographic(name):
        # a raster's own degrees say which way round it lies, even from 0 to 360
        return np.concatenate([x, x[:, :1]], axis=1)
    return unwrapped(project(name, LONLAT, x, y)[0])


def unwrapped(lon: Floats) -> Floats:
    closed = np.concatenate([lon, lon[:, :1]], axis=1)
    unwrapped: Floats = np.unwrap(closed, axis=1, period=360.0)
    return unwrapped


def breaks(lon: Floats, cut: float) -> Bools:
    """(n,) whether rings, unwrapped, cross the meridian ``cut`` or go round a pole."""
    eps = 1e-9
    # the meridians cut + 360 k that lie strictly between the least and the greatest longitude
    first = np.floor((lon.min(1) - cut) / 360.0 + eps) + 1
    last = np.ceil((lon.max(1) - cut) / 360.0 - eps) - 1
    broken: Bools = (first <= last) | (np.abs(lon[:, -1] - lon[:, 0]) > 180.0)
    return broken
