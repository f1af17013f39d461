"""Pixel grids of rasters, by columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.errors import UsageError
from mosaic.grid.systems import Floats, project, world


def affine6(transform: Any) -> tuple[float, ...]:
    """The first six numbers (a, b, c, d, e, f) of a rasterio or STAC transform.

    Raises :class:`~mosaic.errors.UsageError` unless they are finite and invertible.
    """
    try:
        six = tuple(float(value) for value in transform[:6])
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{transform!r} is no affine transform") from error
    if len(six) != 6 or not all(map(math.isfinite, six)):
        raise UsageError(f"{transform!r} is no affine transform of six finite numbers")
    if six[0] * six[4] - six[1] * six[3] == 0:
        raise UsageError(f"{transform!r} is a transform without pixel area")
    return six


@dataclass(frozen=True, slots=True)
class Grids:
    """Pixel grids by columns, one row a distinct grid."""

    crs: tuple[str, ...]
    """Canonical names of the distinct CRSs."""
    crs_index: npt.NDArray[np.int32]
    """(n,) index into ``crs``."""
    shape: npt.NDArray[np.int64]
    """(n, 2) height and width in pixels."""
    transform: Floats
    """(n, 6) affine a, b, c, d, e, f: pixel (column, row) to CRS coordinates."""

    @classmethod
    def one(cls, name: str, shape: tuple[int, int], transform: tuple[float, ...]) -> Grids:
        """A single grid."""
        index = np.zeros(1, np.int32)
        return cls((name,), index, np.array([shape], np.int64), np.array([transform], np.float64))

    def __len__(self) -> int:
        return len(self.crs_index)

    def take(self, index: Any) -> Grids:
        """The grids at these rows."""
        return Grids(self.crs, self.crs_index[index], self.shape[index], self.transform[index])

    def name(self, row: int) -> str:
        """Canonical name of one grid's CRS."""
        return self.crs[int(self.crs_index[row])]

    def xy(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """(n, points) coordinates, each in its own CRS, of fractions of width and height."""
        column, row = self.shape[:, 1:2] * u, self.shape[:, :1] * v
        a, b, c, d, e, f = (self.transform[:, i : i + 1] for i in range(6))
        return a * column + b * row + c, d * column + e * row + f

    def within(self, name: str) -> npt.NDArray[np.bool_]:
        """(n,) whether grids are in a CRS."""
        mine: npt.NDArray[np.bool_] = np.array([own == name for own in self.crs], bool)
        return mine[self.crs_index]

    @property
    def pixel(self) -> Floats:
        """(n,) geometric mean size of a pixel, in the units of the grid's CRS."""
        t = self.transform
        size: Floats = np.sqrt(np.abs(t[:, 0] * t[:, 4] - t[:, 1] * t[:, 3]))
        return size

    @property
    def upright(self) -> npt.NDArray[np.bool_]:
        """(n,) whether rows run south and columns east, without rotation."""
        t = self.transform
        flat: npt.NDArray[np.bool_] = (t[:, 1] == 0) & (t[:, 3] == 0)
        return flat & (t[:, 0] > 0) & (t[:, 4] < 0)


def pixel_extent(grids: Grids, target: str) -> tuple[Floats, Floats]:
    """(n, 2) largest and (n, 2) typical width and height of a grid's pixels in another CRS.

    Taken at nine places of the raster; NaN where none of them can be projected.
    """
    largest = np.full((len(grids), 2), np.nan)
    typical = largest.copy()
    u, v = (axis.ravel() for axis in np.meshgrid([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]))
    whole = world(target)
    for index, name in enumerate(grids.crs):
        rows = np.flatnonzero(grids.crs_index == index)
        if not len(rows):
            continue
        here = grids.take(rows)
        x, y = here.xy(u, v)
        size = np.zeros((2, *x.shape))
        x0, y0 = project(name, target, x, y)
        for a, d in ((0, 3), (1, 4)):
            x1, y1 = project(
                name, target, x + here.transform[:, a : a + 1], y + here.transform[:, d : d + 1]
            )
            with np.errstate(invalid="ignore"):
                dx = np.abs(x1 - x0)
                if whole:
                    dx = np.minimum(dx, np.abs(whole[2] - whole[0] - dx))
                size += np.stack([dx, np.abs(y1 - y0)])
        size[~np.isfinite(size)] = np.nan
        known = ~np.isnan(size).all(axis=(0, 2))
        largest[rows[known]] = np.nanmax(size[:, known], axis=2).T
        typical[rows[known]] = np.nanmedian(size[:, known], axis=2).T
    return largest, typical
