"""Resampling methods: names, what each needs of its source; pure.

They are GDAL's, as ``gdalwarp -et 0`` has them; see :mod:`mosaic.engine.warp` for what differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mosaic.engine.lattice import Lattice
from mosaic.engine.pieces import Ints
from mosaic.errors import UsageError
from mosaic.grid import Floats

Scale = tuple[float, float]
"""Source rows and columns to a target pixel."""

TINY = 1e-10
"""Source pixels by which a place may be short of a pixel's edge and still be beyond it (GDAL's)."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to make a target pixel of source pixels."""

    name: str
    """rasterio's name."""
    radius: int
    """Source pixels that the filter reaches at full resolution; 0: the pixel itself."""
    footprint: bool = False
    """Whether it takes all source pixels under a target pixel: needs a lattice of corners."""
    widens: bool = False
    """Whether the filter widens as soon as pixels shrink; else from half the size on."""


METHODS = {
    method.name: method
    for method in (
        Method("nearest", 0),
        Method("bilinear", 1),
        Method("cubic", 2),
        Method("cubic_spline", 2, widens=True),
        Method("lanczos", 3, widens=True),
        *(Method(n, 0, True) for n in ("average", "rms", "mode", "min", "max", "med", "q1", "q3")),
    )
}
"""Methods by name."""


def method(name: str) -> Method:
    """The method of a name, rasterio's or GDAL's (``cubicspline``, ``near``).

    Raises :class:`~mosaic.errors.UsageError` for any other.
    """
    plain = {"cubicspline": "cubic_spline", "near": "nearest"}.get(name, name)
    try:
        return METHODS[plain]
    except KeyError:
        raise UsageError(f"{name!r} is no resampling method: take {', '.join(METHODS)}") from None


def widening(how: Method, scale: Scale) -> Scale:
    """By how much a method's filter is widened along rows and columns; (1, 1): not at all.

    To whole numbers where they are close, and bilinear and cubic only from 2 on, as GDAL does.
    """
    wide = [1.0 if not s > 1 else round(s) if abs(s - round(s)) < 0.05 else s for s in scale]
    if how.radius == 0 or (not how.widens and max(wide) < 2):
        return 1.0, 1.0
    return wide[0], wide[1]


def widens(how: Method, scale: Scale) -> bool:
    """Whether a method is done by a filter of any width, not by its formula for full size."""
    return how.radius > 0 and (how.widens or widening(how, scale) != (1.0, 1.0))


def halo(how: Method, scale: Scale) -> tuple[int, int]:
    """Source rows and columns that a method takes around the pixel that a place lies in."""
    rows, columns = (math.ceil(how.radius * wide) for wide in widening(how, scale))
    return rows, columns


def reach(made: Lattice, how: Method, scale: Scale) -> Floats:
    """(k, 4) whole source pixels that pieces take: first row, column, last row, column + 1.

    As :func:`needed`, but wherever they lie; NaN for a piece without any known place.
    """
    bounds = made.bounds
    low, high = bounds[:, 1::-1], bounds[:, :1:-1]
    if how.footprint:
        return np.concatenate([np.floor(low + TINY / 2), np.ceil(high - TINY / 2)], axis=1)
    if how.radius == 0:
        return np.concatenate([np.floor(low + TINY / 2), np.floor(high + TINY * 2) + 1], axis=1)
    before = np.array(halo(how, scale)) - (0 if widens(how, scale) else 1)
    after = np.array(halo(how, scale)) + 1
    first, last = np.floor(low - 0.5 - TINY) - before, np.floor(high - 0.5 + TINY) + after
    return np.concatenate([first, last], axis=1)


def needed(made: Lattice, how: Method, scale: Scale, shape: tuple[int, int]) -> Ints:
    """(k, 4) source pixels that pieces take: first row, column, last row, column + 1.

    Clipped to a source (or an overview) of that shape, for which lattice and scale are; empty
    where a piece takes none.
    """
    return within(reach(made, how, scale), shape)


def within(reached: Floats, shape: tuple[int, int]) -> Ints:
    """(k, 4) what :func:`reach` told, clipped to a source; see :func:`needed`."""
    found = np.nan_to_num(reached, nan=-1.0)
    found = np.clip(found, 0, [*shape, *shape])
    found[~(found[:, :2] < found[:, 2:]).all(1)] = 0
    return found.astype(np.int64)
