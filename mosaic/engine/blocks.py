"""Which blocks of a file a part of a target needs, and in which portions it is warped. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mosaic.engine.cover import Bools, Cells
from mosaic.engine.lattice import Lattice
from mosaic.engine.pieces import Ints
from mosaic.engine.raster import Plane, Raster
from mosaic.engine.resampling import Method, Scale, reach, within
from mosaic.engine.tiff import Blocks, Chunks, Need, Tiff
from mosaic.errors import TiffUnsupportedError
from mosaic.grid import Floats
from mosaic.storage.ranges import Span

SIDE = 4
"""Cells along the side of a tile: a tile's pixels are written by one scene after the other."""
LARGE = 4 << 20
"""Source pixels in the window of a portion, above which it is cut if it can be."""
_CLOSE = 0.1


def level(shapes: Sequence[tuple[int, int]], scale: tuple[float, float]) -> int:
    """Which overview is read: the coarsest that isn't coarser than the target in either axis.

    ``shapes``: height and width of the raster and its overviews, from fine to coarse. ``scale``:
    source rows and columns to a target pixel. gdalwarp's ``-ovr AUTO``: one that is coarser by
    less than a tenth of a full pixel is taken too.
    """
    ratio = min(scale)
    if not ratio > 1.0:
        return 0
    factors = [shapes[0][1] / width for _, width in shapes]
    for place, factor in enumerate(factors[:-1]):
        if abs(factor - ratio) < _CLOSE or factor < ratio < factors[place + 1]:
            return place
    return len(shapes) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A portion of a draw: what one call of a kernel writes."""

    tile: int
    """Number of the tile it lies in."""
    pieces: Ints
    """Pieces of the draw's lattice."""
    window: tuple[int, int, int, int]
    """First row and column, last row and column + 1 of the source pixels that it needs."""
    blocks: Ints
    """Rows of the draw's table of blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Blocks of an image and its mask, one row each."""

    mask: Bools
    """(b,) whether it is one of the mask."""
    place: Ints
    """(b, 3) row, column and plane."""

    def __len__(self) -> int:
        return len(self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What one scene shows in some cells of a target."""

    level: int
    """Overview that is read; 0 is the raster itself."""
    lattice: Lattice
    """Pieces to draw, in pixels of that overview."""
    reach: Floats
    """(k, 4) source pixels that pieces take; see :func:`mosaic.engine.resampling.reach`."""
    units: tuple[Unit, ...]
    """Portions, in the order of their tiles."""
    table: Table
    """The blocks they need."""


def draw(
    file: Raster,
    bands: Sequence[int],
    lattice: Lattice,
    cells: Cells,
    how: Method,
    scale: Scale,
    at: int,
) -> Draw:
    """The blocks and portions of a lattice in full pixels of a file.

    ``at``: the overview to read. ``scale``: its rows and columns to a target pixel.
    """
    one = file.levels[at]
    shape = one.image.shape
    there = lattice.at((file.shape[0] / shape[0], file.shape[1] / shape[1]))
    reached = reach(there, how, scale)
    needs = within(reached, shape)
    kept = np.flatnonzero((needs[:, 0] < needs[:, 2]) & (needs[:, 1] < needs[:, 3]))
    there, reached, needs = there.take(kept), reached[kept], needs[kept]
    planes = _planes(file, one.image, bands)
    tiles = tiles_of(cells, cells.of(there))
    units: list[Unit] = []
    index: dict[tuple[bool, int, int, int], int] = {}
    for tile in np.unique(tiles).tolist():
        for pieces in _portions(np.flatnonzero(tiles == tile), needs, there):
            own = needs[pieces]
            keys = [(False, r, c, p) for r, c in _blocks(one.image, own) for p in planes]
            if one.mask is not None:
                keys += [(True, r, c, 0) for r, c in _blocks(one.mask, own)]
            rows = [index.setdefault(key, len(index)) for key in keys]
            (r0, c0), (r1, c1) = own[:, :2].min(0).tolist(), own[:, 2:].max(0).tolist()
            units.append(Unit(tile, pieces, (r0, c0, r1, c1), np.array(rows, np.int64)))
    found = np.array(list(index), np.int64).reshape(-1, 4)
    return Draw(at, there, reached, tuple(units), Table(found[:, 0] == 1, found[:, 1:]))


def tiles_of(cells: Cells, cell: Ints) -> Ints:
    """Number of the tile of each cell, row by row."""
    across = -(-cells.shape[1] // SIDE)
    row, column = np.divmod(cell, cells.shape[1])
    found: Ints = row // SIDE * across + column // SIDE
    return found


def _portions(pieces: Ints, needs: Ints, lattice: Lattice) -> list[Ints]:
    """The pieces of a tile together, unless their source windows lie far apart."""
    low, high = needs[pieces, :2].min(0), needs[pieces, 2:].max(0)
    if len(pieces) == 1 or np.prod(high - low) <= LARGE:
        return [pieces]
    own = np.prod(needs[pieces, 2:] - needs[pieces, :2], axis=1).sum()
    if np.prod(high - low) <= 2 * own:
        return [pieces]
    # halves along the longer side of the window
    axis = int(np.argmax(high - low))
    order = pieces[np.argsort(needs[pieces, axis], kind="stable")]
    half = len(order) // 2
    return [*_portions(order[:half], needs, lattice), *_portions(order[half:], needs, lattice)]


def _planes(file: Raster, image: Plane, bands: Sequence[int]) -> list[int]:
    if max(bands) >= image.samples:
        raise TiffUnsupportedError(
            f"it has {image.samples} bands, its item {max(bands) + 1} or more",
            href=image.href,
            advice="mend the item",
        )
    if not image.separate:
        return [0]
    return sorted({*bands, *(() if file.alpha is None else (file.alpha,))})


def _blocks(image: Plane, needs: Ints) -> list[tuple[int, int]]:
    """Rows and columns of the blocks that windows of pixels touch."""
    rows, columns = image.block
    low = needs[:, :2] // (rows, columns)
    high = -(-needs[:, 2:] // (rows, columns))
    first, last = low.min(0), high.max(0)
    touched: Bools = np.zeros((last - first).tolist(), bool)
    for (r0, c0), (r1, c1) in zip((low - first).tolist(), (high - first).tolist(), strict=True):
        touched[r0:r1, c0:c1] = True
    found: list[tuple[int, int]] = [
        (int(r), int(c)) for r, c in (np.argwhere(touched) + first).tolist()
    ]
    return found


def spans(
    tiff: Tiff, at: int, table: Table, chunks: Chunks | None = None, masks: bool | None = None
) -> list[Span | None] | Need:
    """Where blocks lie in the file; None for those that it leaves out.

    ``masks``: only those of the mask, or only the others. A Need where parts of the tables of
    blocks must be fetched first. Raises TiffBlockError.
    """
    one = tiff.levels[at]
    found: list[Span | None] = [None] * len(table)
    for image, mine in ((one.image, ~table.mask), (one.mask, table.mask)):
        rows = np.flatnonzero(mine)
        if image is None or not len(rows) or masks not in (None, bool(table.mask[rows[0]])):
            continue
        located: Blocks | Need = image.locate(*table.place[rows].T, chunks=chunks)
        if isinstance(located, Need):
            return located
        for row, span in zip(rows.tolist(), located.spans(), strict=True):
            found[row] = span
    return found
