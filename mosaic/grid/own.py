"""A mosaic's own pixels: their size, their corner, how many."""

from __future__ import annotations

import math

from affine import Affine
from odc.geo.geobox import GeoBox

from mosaic.errors import UsageError
from mosaic.grid.systems import Bounds, world


def nice_resolution(size: float, own: float | None, geographic: bool = False) -> float:
    """A pixel size no coarser than ``size``: ``own`` when within 1 % of it, else three digits.

    In degrees, a whole number of pixels between equator and pole, so that none sticks out
    beyond a pole or 180 degrees.
    """
    if geographic:
        return 90.0 / math.ceil(90.0 / size - 1e-9)
    if own is not None and abs(size / own - 1) <= 0.01:
        return own
    scale = 10.0 ** (2 - math.floor(math.log10(size)))
    return math.floor(size * scale) / scale


def overview_factors(width: int, height: int) -> tuple[int, ...]:
    """Powers of two by which a mosaic is shrunk until it fits 128 pixels."""
    factors = []
    factor = 2
    while max(width, height) / factor * 2 > 128 and factor <= 1 << 16:
        factors.append(factor)
        factor *= 2
    return tuple(factors)


def mosaic_geobox(
    bounds: Bounds,
    resolution: tuple[float, float],
    name: str,
    origin: tuple[float, float] = (0.0, 0.0),
) -> GeoBox:
    """The mosaic's grid: bounds snapped outward to whole pixels from an origin.

    At the edge of the world they are snapped inward: PROJ has no place for the rest of a pixel.
    Width and height are multiples of the largest overview factor, because GDAL shifts an
    overview of any other size by up to a pixel (measured: 1.22 pixels at 1/16).
    Raises :class:`~mosaic.errors.UsageError` above GDAL's 2^31 - 1 pixels a side.
    """
    (dx, dy), (x0, y0) = resolution, origin
    left, right = _snapped(bounds[0] - x0, bounds[2] - x0, dx)
    bottom, top = _snapped(bounds[1] - y0, bounds[3] - y0, dy)
    whole = world(name)
    if whole:
        # a pixel with its middle on the map belongs to it, east and west
        left = max(left, math.ceil((whole[0] - x0) / dx - 0.5 - 1e-6))
        right = min(right, math.floor((whole[2] - x0) / dx + 0.5 + 1e-6))
        bottom = max(bottom, math.ceil((whole[1] - y0) / dy - 1e-6))
        top = min(top, math.floor((whole[3] - y0) / dy + 1e-6))
    width, height = max(1, right - left), max(1, top - bottom)
    factors = overview_factors(width, height)
    step = factors[-1] if factors else 1
    width, height = (-(-size // step) * step for size in (width, height))
    if max(width, height) > 2**31 - 1:
        raise UsageError(
            f"{width} x {height} pixels of {dx:g} x {dy:g} are more than GDAL can address; "
            "give a coarser --res or a --bbox"
        )
    affine = Affine(dx, 0.0, x0 + left * dx, 0.0, -dy, y0 + top * dy)
    return GeoBox((height, width), affine, name)


def enlarged(grid: GeoBox, bounds: Bounds) -> GeoBox:
    """A mosaic's grid with room for bounds: the same pixels, and more of them where needed."""
    own = grid.boundingbox
    a = grid.affine
    slack_x, slack_y = 1e-6 * a.a, -1e-6 * a.e
    if (
        bounds[0] >= own.left - slack_x
        and bounds[1] >= own.bottom - slack_y
        and bounds[2] <= own.right + slack_x
        and bounds[3] <= own.top + slack_y
    ):
        return grid
    whole = (
        min(own.left, bounds[0]),
        min(own.bottom, bounds[1]),
        max(own.right, bounds[2]),
        max(own.top, bounds[3]),
    )
    return mosaic_geobox(whole, (a.a, -a.e), str(grid.crs), (a.c, a.f))


def covering(
    bounds: Bounds, resolution: tuple[float, float], name: str, origin: tuple[float, float]
) -> GeoBox:
    """The pixels of a lattice that cover bounds: whole ones, counted from an origin."""
    (dx, dy), (x0, y0) = resolution, origin
    left, right = _snapped(bounds[0] - x0, bounds[2] - x0, dx)
    bottom, top = _snapped(bounds[1] - y0, bounds[3] - y0, dy)
    affine = Affine(dx, 0.0, x0 + left * dx, 0.0, -dy, y0 + top * dy)
    return GeoBox((max(1, top - bottom), max(1, right - left)), affine, name)


def _snapped(low: float, high: float, step: float) -> tuple[int, int]:
    return math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
