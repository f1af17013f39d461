"""Which scenes a window needs: cells of the target, what touches them, what hides what. Pure.

A cell is a square of 128 target pixels, that of the largest pieces of a lattice: each piece lies in
one cell. A scene that fills a cell hides all below it there, as long as no hole shows in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mosaic.engine.lattice import LARGEST, Lattice, Window
from mosaic.engine.pieces import Ints

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a window."""

    window: Window
    """First row, first column, height, width in the target grid."""

    @property
    def first(self) -> tuple[int, int]:
        """Row and column, in cells of the whole grid, of the window's first one."""
        return self.window[0] // LARGEST, self.window[1] // LARGEST

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        row, column, height, width = self.window
        return (
            -(-(row + height) // LARGEST) - row // LARGEST,
            -(-(column + width) // LARGEST) - column // LARGEST,
        )

    @property
    def area(self) -> Ints:
        """(cells,) pixels of each cell in the window."""
        sides = []
        for axis in (0, 1):
            start, size = self.window[axis], self.window[axis + 2]
            edges = (np.arange(self.shape[axis] + 1) + self.first[axis]) * LARGEST - start
            sides.append(np.diff(np.clip(edges, 0, size)))
        found: Ints = np.asarray(np.multiply.outer(*sides), np.int64).ravel()
        return found

    def of(self, lattice: Lattice) -> Ints:
        """(k,) cell of each piece."""
        place = (lattice.origin + np.array(self.window[:2])) // LARGEST - np.array(self.first)
        found: Ints = place[:, 0] * self.shape[1] + place[:, 1]
        return found

    def holding(self, pixels: Bools) -> Bools:
        """(cells,) whether any of (height, width) pixels is true in a cell."""
        rows, columns = (
            np.maximum((np.arange(self.shape[a]) + self.first[a]) * LARGEST - self.window[a], 0)
            for a in (0, 1)
        )
        found = np.logical_or.reduceat(np.logical_or.reduceat(pixels, rows, 0), columns, 1)
        return np.asarray(found.ravel(), bool)


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """Where a scene lies in a window."""

    lattice: Lattice
    """Its pixels' coordinates, at full resolution."""
    cell: Ints
    """(k,) cell of each piece."""
    touched: Bools
    """(cells,) cells in which it may show."""
    full: Bools
    """(cells,) cells that it fills, but for holes that only its pixels tell."""


def cover(cells: Cells, lattice: Lattice, shape: tuple[int, int]) -> Cover:
    """Where a scene of so many rows and columns lies."""
    cell = cells.of(lattice)
    count = cells.shape[0] * cells.shape[1]
    touched = np.bincount(cell, minlength=count) > 0
    bounds, place = lattice.bounds, lattice.target
    with np.errstate(invalid="ignore"):
        inside = (bounds[:, 0] >= 0) & (bounds[:, 1] >= 0)
        inside &= (bounds[:, 2] <= shape[1]) & (bounds[:, 3] <= shape[0])
    inside &= np.isfinite(lattice.column).all((1, 2)) & np.isfinite(lattice.row).all((1, 2))
    pixels = (place[:, 2] - place[:, 0]) * (place[:, 3] - place[:, 1])
    filled = np.bincount(cell, np.where(inside, pixels, 0), minlength=count)
    return Cover(lattice, cell, touched, filled >= cells.area)


def wave(covers: Sequence[Cover], need: Bools, done: Sequence[Bools]) -> list[Bools]:
    """(cells,) in which each scene is drawn next, from the topmost down.

    ``need``: cells that aren't complete yet. ``done``: cells in which a scene was drawn before.
    Below a scene that fills a cell nothing is drawn in it: only its holes, once they are known,
    bring the next wave.
    """
    rest = need.copy()
    found = []
    for one, before in zip(covers, done, strict=True):
        here = rest & one.touched & ~before
        rest &= ~(here & one.full)
        found.append(here)
    return found
