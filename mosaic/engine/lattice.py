"""Where the pixels of a target window lie in a source raster: pure.

The target grid is cut into *pieces*, squares of at most 128 pixels that begin at multiples of
their size in the grid's own pixel index. Each has 3 x 3 nodes with exact coordinates by PROJ,
and a quadratic in between. A piece that is off by more than 0.0001 of a source pixel at its
quarter points is cut in four, down to 2 x 2 pixels, where every pixel is a node: so poles,
180 degrees, curved edges, and borders between PROJ's operations are right. What a piece holds
depends on the two grids alone, never on the window: however a target is cut into chunks, a
pixel has the same source coordinates, to the last bit.

Why quadratic: between the nodes of a bilinear lattice, 64 pixels apart and good to 0.01 of a
pixel, one nearest pixel in two hundred is another than PROJ's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from mosaic.engine.pieces import LARGEST, SMALLEST, Grid, Ints, Sampler, bounds, touches
from mosaic.grid import Floats, stepwise, world

__all__ = ["ERROR", "LARGEST", "NOISE", "SMALLEST", "Grid", "Lattice", "lattice", "scale"]

Window = tuple[int, int, int, int]
"""First row, first column, height, width, in pixels of a grid."""

ERROR = 1e-4
"""Largest error of an interpolated coordinate, in source pixels."""
NOISE = 1e-2
"""Error below which a piece isn't cut further if cutting doesn't help: it is PROJ's own noise."""
BLIND = 32
"""Pixels along the side of pieces that are still cut when PROJ has no answer at any node."""


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Source pixel coordinates of a target window, as a quadratic on each of k pieces.

    Only pieces that may touch the source are there. Pieces don't overlap, but for those that
    cross the meridian opposite to the source: they come twice, once for either side of it.
    """

    shape: tuple[int, int]
    """Height and width of the window, in target pixels."""
    corners: bool
    """Whether nodes are upper left corners of target pixels, for footprints; else centres."""
    origin: Ints
    """(k, 2) row and column of each piece's first pixel in the window; may be negative."""
    size: Ints
    """(k,) pixels along the side of each piece: nodes are at 0, size / 2 and size."""
    column: Floats
    """(k, 3, 3) source column of each node, corner origin: the centre of pixel 0 is 0.5."""
    row: Floats
    """(k, 3, 3) source row of each node; not finite where PROJ has no answer (size 2 only)."""

    def __len__(self) -> int:
        return len(self.size)

    @property
    def target(self) -> Ints:
        """(k, 4) first row, first column, last row, last column + 1 of pieces in the window."""
        low = np.maximum(self.origin, 0)
        high = np.minimum(self.origin + self.size[:, None], self.shape)
        return np.concatenate([low, high], axis=1)

    @property
    def bounds(self) -> Floats:
        """(k, 4) least column and row, greatest column and row of the window's pixels.

        In source pixels, of pixel centres (of footprints if ``corners``), without any halo.
        """
        place = self.target
        last = 0 if self.corners else 1
        weights = []
        for axis in (0, 1):
            low, high = place[:, axis], place[:, axis + 2] - last
            at = np.stack([low, (low + high) / 2, high], axis=1) - self.origin[:, axis, None]
            t = at / self.size[:, None]
            three = [(1 - 2 * t) * (1 - t), 4 * t * (1 - t), t * (2 * t - 1)]
            weights.append(np.stack(three, axis=2))
        within = [
            np.einsum("kai,kij,kbj->kab", weights[0], nodes, weights[1])
            for nodes in (self.column, self.row)
        ]
        exact = self.size == SMALLEST
        for nodes, inside in zip((self.column, self.row), within, strict=True):
            inside[exact] = nodes[exact]
        return bounds(*within)

    def take(self, index: Any) -> Lattice:
        """The lattice of some of its pieces."""
        return replace(
            self,
            origin=self.origin[index],
            size=self.size[index],
            column=self.column[index],
            row=self.row[index],
        )

    def at(self, factor: tuple[float, float]) -> Lattice:
        """The lattice in an overview: ``factor`` is full height and width by the overview's."""
        return replace(self, row=self.row / factor[0], column=self.column / factor[1])


def lattice(
    target: Grid,
    source: Grid,
    window: Window | None = None,
    *,
    corners: bool = False,
) -> Lattice:
    """The lattice of a window of a target grid (all of it by default) in a source raster.

    ``corners``: nodes at pixel corners, as methods that weigh a pixel's footprint need them.
    """
    row, column, height, width = window or (0, 0, *target.shape)
    place = (row, column, row + height, column + width)
    sampler = Sampler(target, source, 0.0 if corners else 0.5)
    found: list[tuple[Ints, int, Floats, Floats]] = []
    size = LARGEST
    origin = _first(place) if height > 0 and width > 0 else np.empty((0, 2), np.int64)
    before = np.full(len(origin), np.inf)
    while len(origin):
        pieces = sampler.pieces(origin, size)
        off, touching, twice = pieces.judged(source.shape)
        done = (off <= ERROR) | ((off <= NOISE) & (off > before / 2)) | (size == SMALLEST)
        for shift, part in ((0.0, done), (-1.0, done & twice)):
            c, r = pieces.shifted(shift, part)
            near = touches(bounds(c, r), source.shape)
            found.append((origin[part][near], size, c[near], r[near]))
        some, every = pieces.known
        # what few known places of a piece tell of the rest is a guess
        again = ~done & (touching | (some & ~every) | (~some & (size > BLIND)))
        size //= 2
        quarters = np.array([[0, 0], [0, size], [size, 0], [size, size]])
        origin = (origin[again][:, None] + quarters).reshape(-1, 2)
        before = np.repeat(off[again], 4)
        inside = (origin < place[2:]).all(1) & (origin + size > place[:2]).all(1)
        origin, before = origin[inside], before[inside]
    return Lattice(
        (height, width),
        corners,
        np.concatenate([o for o, _, _, _ in found] or [origin]) - np.array([row, column]),
        np.concatenate([np.full(len(o), s, np.int64) for o, s, _, _ in found] or [origin[:, 0]]),
        np.concatenate([c for _, _, c, _ in found] or [np.empty((0, 3, 3))]),
        np.concatenate([r for _, _, _, r in found] or [np.empty((0, 3, 3))]),
    )


@lru_cache(maxsize=4096)
def scale(target: Grid, source: Grid) -> tuple[float, float]:
    """Source rows and source columns to a target pixel, for overviews and kernel widths.

    The medians over 5 x 5 places of the source, so one number for all windows of a target; NaN
    where none of the places can be projected.
    """
    height, width = source.shape
    u, v = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0.05, 0.95, 5),) * 2))
    column, row = u * width, v * height
    # steps of one source pixel, and back from there: derivatives of the inverse map
    matrix = []

    def at(column: Floats, row: Floats) -> tuple[Floats, Floats]:
        x, y = source.xy(column, row)
        return target.pixel(*stepwise(source.crs, target.crs, x, y, back=True))

    x, y = at(column, row)
    whole = world(target.crs)
    a, d = target.transform[0], target.transform[3]
    turn = None if whole is None else (whole[2] - whole[0]) / math.hypot(a, d)
    for dc, dr in ((0.5, 0.0), (0.0, 0.5)):
        ends = [at(column + s * dc, row + s * dr) for s in (-1, 1)]
        with np.errstate(invalid="ignore"):
            dx, dy = ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]
            if turn is not None:
                dx = np.where(np.abs(dx) > turn / 2, np.nan, dx)
        matrix.append((dx, dy))
    (xc, yc), (xr, yr) = matrix
    with np.errstate(invalid="ignore", divide="ignore"):
        area = xc * yr - xr * yc
        columns, rows = np.hypot(yr, xr) / np.abs(area), np.hypot(yc, xc) / np.abs(area)
    good = np.isfinite(columns) & np.isfinite(rows) & np.isfinite(x) & np.isfinite(y)
    if not good.any():
        return (np.nan, np.nan)
    return float(np.median(rows[good])), float(np.median(columns[good]))


def _first(place: tuple[int, int, int, int]) -> Ints:
    """(k, 2) rows and columns, in the whole grid, of the largest pieces that touch a window."""
    rows, columns = (
        np.arange(low // LARGEST, -(-high // LARGEST)) * LARGEST
        for low, high in (place[::2], place[1::2])
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
