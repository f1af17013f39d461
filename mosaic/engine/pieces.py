"""Pieces of a target grid, with exact source coordinates at their nodes: pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from affine import Affine

from mosaic.grid import Floats, stepwise, world

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LARGEST = 128
"""Pixels along the side of the largest pieces; a power of two."""
SMALLEST = 2
"""Pixels along the side of the smallest pieces: their nodes are pixels."""

# weights of the three nodes at a quarter and three quarters of a piece
_QUARTERS = ((0.375, 0.75, -0.125), (-0.125, 0.75, 0.375))


@dataclass(frozen=True, slots=True)
class Grid:
    """The pixel grid of one raster."""

    crs: str
    """Canonical name of the CRS."""
    shape: tuple[int, int]
    """Height and width in pixels."""
    transform: tuple[float, ...]
    """Affine a, b, c, d, e, f: pixel (column, row), corner origin, to CRS coordinates."""

    def xy(self, column: Floats, row: Floats) -> tuple[Floats, Floats]:
        """CRS coordinates of fractional pixels."""
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f

    def pixel(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Fractional column and row of CRS coordinates."""
        a, b, c, d, e, f = _inverse(self.transform)
        with np.errstate(invalid="ignore"):
            return a * x + b * y + c, d * x + e * y + f


@lru_cache(maxsize=4096)
def _inverse(transform: tuple[float, ...]) -> tuple[float, ...]:
    return tuple((~Affine(*transform))[:6])


@dataclass(frozen=True, slots=True)
class Sampler:
    """Exact coordinates of target pixels in a source."""

    target: Grid
    source: Grid
    offset: float
    """Where in a pixel its node lies: 0.5 for centres."""

    @property
    def turn(self) -> tuple[float, float] | None:
        """Least x of the turn around the source's middle, and its length; None without a seam."""
        whole = world(self.source.crs)
        if whole is None:
            return None
        height, width = self.source.shape
        middle = self.source.xy(np.array([width / 2]), np.array([height / 2]))[0]
        length = whole[2] - whole[0]
        return float(middle[0]) - length / 2, length

    def xy(self, row: Ints, column: Ints) -> tuple[Floats, Floats]:
        """Coordinates in the source's CRS, in the turn around the source."""
        x, y = self.target.xy(
            column.astype(np.float64) + self.offset, row.astype(np.float64) + self.offset
        )
        x, y = stepwise(self.target.crs, self.source.crs, x, y)
        if self.turn is not None:
            start, length = self.turn
            with np.errstate(invalid="ignore"):
                x = x - np.floor((x - start) / length) * length
        bad = ~(np.isfinite(x) & np.isfinite(y))
        return np.where(bad, np.nan, x), np.where(bad, np.nan, y)

    def pieces(self, origin: Ints, size: int) -> Pieces:
        """Nodes and quarter points of pieces of one size."""
        three, two = np.arange(3) * (size // 2), np.array([1, 3]) * (size // 4)
        if size == SMALLEST:
            two = two[:0]
        r, c = origin[:, 0, None, None], origin[:, 1, None, None]
        nodes, checks = (
            np.broadcast_arrays(r + at[:, None], c + at[None, :]) for at in (three, two)
        )
        x, y = self._shared(*nodes) if size == LARGEST else self.xy(*nodes)
        qx, qy = self.xy(*checks)
        length = 0.0
        twice = np.zeros(len(origin), bool)
        if self.turn is not None:
            start, length = self.turn
            every = np.concatenate([x.reshape(len(x), -1), qx.reshape(len(x), -1)], axis=1)
            twice = _spread(every) > length / 2
            low = start + length / 2
            x, qx = (
                np.where(twice[:, None, None] & (part < low), part + length, part)
                for part in (x, qx)
            )
        return Pieces(self.source, x, y, qx, qy, twice, length)

    def _shared(self, row: Ints, column: Ints) -> tuple[Floats, Floats]:
        """:meth:`xy` of nodes that neighbours share: each is projected once."""
        rows, r = np.unique(row, return_inverse=True)
        columns, c = np.unique(column, return_inverse=True)
        x, y = self.xy(*np.broadcast_arrays(rows[:, None], columns[None, :]))
        place = r.reshape(row.shape), c.reshape(column.shape)
        return x[place], y[place]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Pieces of one size while they are judged."""

    source: Grid
    x: Floats
    y: Floats
    """(k, 3, 3) nodes, in the source's CRS."""
    check_x: Floats
    check_y: Floats
    """(k, 2, 2) quarter points."""
    twice: Bools
    """(k,) whether the meridian opposite to the source crosses the piece."""
    length: float
    """Length of the whole turn, in the source's CRS."""

    @property
    def known(self) -> tuple[Bools, Bools]:
        """(k,) whether PROJ has an answer for any point, and for all of them."""
        count = len(self.x)
        parts = [self.x.reshape(count, -1), self.check_x.reshape(count, -1)]
        finite = np.isfinite(np.concatenate(parts, axis=1))
        return np.asarray(finite.any(1), bool), np.asarray(finite.all(1), bool)

    def shifted(self, turns: float, some: Bools) -> tuple[Floats, Floats]:
        """(k, 3, 3) columns and rows of some pieces' nodes, by so many turns further."""
        return self.source.pixel(self.x[some] + turns * self.length, self.y[some])

    def judged(self, shape: tuple[int, int]) -> tuple[Floats, Bools, Bools]:
        """(k,) error in pixels; whether a piece may touch the source; whether it comes twice."""
        column, row = self.source.pixel(self.x, self.y)
        check_column, check_row = self.source.pixel(self.check_x, self.check_y)
        off = np.maximum(_misfit(column, check_column), _misfit(row, check_row))
        touching = np.zeros(len(off), bool)
        here = [(column, row), (check_column, check_row)]
        for turns in (0.0, -1.0) if self.twice.any() else (0.0,):
            if turns:
                here = [
                    self.source.pixel(x + turns * self.length, y)
                    for x, y in ((self.x, self.y), (self.check_x, self.check_y))
                ]
            c, r = (
                np.concatenate([part.reshape(len(off), -1) for part in parts], axis=1)
                for parts in zip(*here, strict=True)
            )
            low = np.stack([_least(c), _least(r)], axis=1)
            high = np.stack([-_least(-c), -_least(-r)], axis=1)
            grown = high - low
            touching |= touches(np.concatenate([low - grown, high + grown], axis=1), shape)
        return off, touching, self.twice


def _misfit(nodes: Floats, checks: Floats) -> Floats:
    """(k,) how far the quadratics are off at their quarter points; infinite if unknown."""
    off = np.zeros(len(nodes))
    if not checks.size:
        return off
    for i, wi in enumerate(_QUARTERS):
        lines = wi[0] * nodes[:, 0] + wi[1] * nodes[:, 1] + wi[2] * nodes[:, 2]
        for j, wj in enumerate(_QUARTERS):
            there = wj[0] * lines[:, 0] + wj[1] * lines[:, 1] + wj[2] * lines[:, 2]
            off = np.maximum(off, np.abs(there - checks[:, i, j]))
    return np.where(np.isnan(off), np.inf, off)


def _least(values: Floats) -> Floats:
    """(k,) least of what is known in each row; NaN where nothing is."""
    least = np.where(np.isnan(values), np.inf, values).min(1)
    return np.where(np.isinf(least), np.nan, least)


def _spread(values: Floats) -> Floats:
    return np.nan_to_num(-_least(-values) - _least(values))


def bounds(column: Floats, row: Floats) -> Floats:
    """(k, 4) bounds of quadratics through 3 x 3 points, which may bulge between them."""
    both = []
    for nodes in (column, row):
        with np.errstate(invalid="ignore"):
            down = np.abs((nodes[:, 2] - nodes[:, 1]) - (nodes[:, 1] - nodes[:, 0])).max(1)
            along = (nodes[:, :, 2] - nodes[:, :, 1]) - (nodes[:, :, 1] - nodes[:, :, 0])
            along = np.abs(along).max(1)
        flat = nodes.reshape(len(nodes), 9)
        more = np.nan_to_num(down + along) / 4
        both.append((_least(flat) - more, -_least(-flat) + more))
    return np.stack([both[0][0], both[1][0], both[0][1], both[1][1]], axis=1)


def touches(bounds: Floats, shape: tuple[int, int]) -> Bools:
    """(k,) whether bounds come within a pixel of a raster."""
    with np.errstate(invalid="ignore"):
        near: Bools = (
            (bounds[:, 0] <= shape[1] + 1)
            & (bounds[:, 1] <= shape[0] + 1)
            & (bounds[:, 2] >= -1)
            & (bounds[:, 3] >= -1)
        )
    return near
