"""Indices to windows: what is read, and where it goes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from mosaic.engine.pieces import Grid

Longs = npt.NDArray[np.int64]

GAP = 512
"""Rows or columns that are read though nobody wants them, rather than to begin another window."""
_LONG = 4096
"""Rows or columns of a window of which not all are wanted, at most."""
POINTS = 256
"""Side of the squares by which single points are read together."""
_ALIGN = 512
_TIMES = 512


@dataclass(frozen=True, slots=True)
class Run:
    """Rows or columns at equal distances."""

    start: int
    """The first."""
    count: int
    """How many."""
    step: int = 1
    """Distance, 1 or more."""
    picked: tuple[int, ...] | None = None
    """Which of them are wanted; None: all."""

    def part(self, start: int, stop: int) -> Run:
        """Those from one place among them to another."""
        return Run(self.start + start * self.step, stop - start, self.step)

    @property
    def size(self) -> int:
        """How many are wanted."""
        return self.count if self.picked is None else len(self.picked)


@dataclass(frozen=True, slots=True)
class Key:
    """What is read of an array (time, y, x)."""

    times: tuple[int, ...]
    """Layers of time, each once."""
    rows: tuple[Run, ...]
    """Runs of rows, one after the other in the result."""
    columns: tuple[Run, ...]
    """Runs of columns."""

    @property
    def whole(self) -> bool:
        """Whether it is one window, all of which is wanted."""
        runs = (*self.rows, *self.columns)
        return len(self.rows) == len(self.columns) == 1 and all(r.picked is None for r in runs)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what is wanted."""
        rows, columns = (sum(one.size for one in runs) for runs in (self.rows, self.columns))
        return len(self.times), rows, columns


def key_of(index: Sequence[Any], shape: tuple[int, ...]) -> tuple[Key, tuple[Any, ...]]:
    """The key of whole numbers, slices with positive steps and arrays that don't fall.

    And the index that makes of what is read what was asked for: whole numbers drop a dimension.
    """
    times, place = np.unique(np.arange(shape[0])[index[0]], return_inverse=True)
    rows, columns = (_runs(one, size) for one, size in zip(index[1:], shape[1:], strict=True))
    kept: list[Any] = [0 if isinstance(one, int | np.integer) else slice(None) for one in index]
    if isinstance(index[0], np.ndarray):
        kept[0] = place.reshape(-1)
    return Key(tuple(times.tolist()), rows, columns), tuple(kept)


def _runs(index: Any, size: int) -> tuple[Run, ...]:
    if isinstance(index, slice):
        start, stop, step = index.indices(size)
        count = len(range(start, stop, step))
        # a step that takes only one is none
        return (Run(start, count, step if count > 1 else 1),) if count else ()
    wanted = np.atleast_1d(np.arange(size)[index])
    if not len(wanted):
        return ()
    new = np.diff(wanted) > GAP
    if not (np.diff(wanted) == 1).all():
        new |= np.diff(wanted // _LONG) > 0
    ends = np.flatnonzero(new) + 1
    found = []
    for part in np.split(wanted, ends):
        first = int(part[0])
        count = int(part[-1]) - first + 1
        picked = None if (np.diff(part) == 1).all() else tuple((part - first).tolist())
        found.append(Run(first, count, 1, picked))
    return tuple(found)


def places(runs: Sequence[Run]) -> Iterator[tuple[Run, slice]]:
    """Each run, and where what is wanted of it lies in the result."""
    start = 0
    for one in runs:
        yield one, slice(start, start + one.size)
        start += one.size


def portions(
    times: int, rows: int, columns: int, size: int, limit: int
) -> Iterator[tuple[slice, slice, slice]]:
    """A window cut so that no part has more than ``limit`` bytes, if it may be, or 512 times.

    ``size``: bytes of a pixel. Cuts lie at multiples of 512.
    """
    if times * rows * columns * size <= limit and times <= _TIMES:
        yield slice(0, times), slice(0, rows), slice(0, columns)
        return
    high, wide = rows, columns
    while high * wide * size > limit and max(high, wide) > _ALIGN:
        if high >= wide:
            high = _halved(high)
        else:
            wide = _halved(wide)
    long = min(max(1, limit // (high * wide * size)), _TIMES)
    for t in range(0, times, long):
        for r in range(0, rows, high):
            for c in range(0, columns, wide):
                yield (
                    slice(t, min(t + long, times)),
                    slice(r, min(r + high, rows)),
                    slice(c, min(c + wide, columns)),
                )


def _halved(length: int) -> int:
    return max(_ALIGN, -(-length // 2 // _ALIGN) * _ALIGN)


def stepped(grid: Grid, row: Run, column: Run) -> tuple[Grid, tuple[int, int, int, int]]:
    """The grid whose pixels have their middles where some of a grid's pixels have theirs.

    And the window of it that the runs are. It has the size of a step, so that overviews serve,
    and depends on the step and its phase alone: parts of one window share it.
    """
    if row.step == 1 and column.step == 1:
        return grid, (row.start, column.start, row.count, column.count)
    phase = row.start % row.step, column.start % column.step
    corner = phase[1] + 0.5 - column.step / 2, phase[0] + 0.5 - row.step / 2
    affine = (
        Affine(*grid.transform) @ Affine.translation(*corner) @ Affine.scale(column.step, row.step)
    )
    height, width = grid.shape
    shape = -(-(height - phase[0]) // row.step), -(-(width - phase[1]) // column.step)
    window = (row.start // row.step, column.start // column.step, row.count, column.count)
    return Grid(grid.crs, shape, tuple(affine)[:6]), window


def clusters(rows: Longs, columns: Longs) -> Iterator[Longs]:
    """Places of points that lie in one square of :data:`POINTS` pixels."""
    _, square = np.unique(
        np.stack([rows // POINTS, columns // POINTS]), axis=1, return_inverse=True
    )
    order = np.argsort(square.reshape(-1), kind="stable")
    ends = np.flatnonzero(np.diff(square.reshape(-1)[order])) + 1
    yield from np.split(order, ends) if len(order) else ()
