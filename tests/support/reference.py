"""What a mosaic should hold, worked out without mosaic and without GDAL's warper.

PROJ takes the centre of every target pixel to every source; the nearest pixel of the first source
that has data there is the answer. Only numpy, PROJ and GDAL's readers of single files take part,
so that an error shared with the code under test is unlikely.

Two things aren't errors of a mosaic, and are told apart here. A pixel within one pixel of where
data end may be there or not (``inside``, ``outside``). And GDAL's warper finds a source pixel only
within 0.125 pixels, so that a centre near the boundary of two source pixels may get either
(``certain``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from rasterio.windows import Window

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TOLERANCE = 0.13
"""Source pixels by which GDAL's warper may err (its own limit is 0.125)."""
_CHUNK = 1 << 19
_WINDOW = 1 << 24


@dataclass(frozen=True)
class Layer:
    """One raster of a mosaic."""

    path: str | Path
    """What rasterio opens."""
    nodata: float | None = None
    """Value that means no data instead of what the file declares, or None."""


@dataclass(frozen=True)
class Reference:
    """What a mosaic should hold. All arrays are (bands, height, width)."""

    values: npt.NDArray[Any]
    """Nearest value of the first source that has data; 0 where none has."""
    valid: Bools
    """Whether a source has data at the pixel's centre."""
    certain: Bools
    """Whether ``values`` is beyond doubt: no end of data of the source on top, or of one above
    it, lies within the border, and every pixel within GDAL's tolerance has the same value."""
    inside: Bools
    """Whether some source has data everywhere within the border: nothing may be missing here."""
    outside: Bools
    """Whether no source has data anywhere within the border: nothing may be here."""


@dataclass(frozen=True)
class Comparison:
    """How a mosaic compares with its reference, in pixels of all bands."""

    inside: int
    """Pixels at which data must be there."""
    missing: int
    """Those of them that the mosaic lacks."""
    invented: int
    """Pixels of the mosaic where no source has data."""
    certain: int
    """Pixels whose value is beyond doubt."""
    unequal: int
    """Those of them that hold another value, or none."""
    valid: int
    """Pixels at which the reference has data, doubtful ones included."""
    equal: int
    """Those of them that hold the reference's value."""

    @property
    def share(self) -> float:
        """Share of all pixels with data, doubtful ones included, that equal the reference."""
        return self.equal / self.valid if self.valid else float("nan")

    @property
    def faults(self) -> tuple[int, int, int]:
        """(missing, invented, unequal): all zero for a mosaic that is right."""
        return self.missing, self.invented, self.unequal


def reference(
    sources: Iterable[str | Path | Layer],
    crs: Any,
    transform: Affine,
    shape: tuple[int, int],
    *,
    border: float = 1.0,
    tolerance: float = TOLERANCE,
) -> Reference:
    """The mosaic of ``sources``, the first on top, on a grid.

    ``crs``: anything that pyproj takes, or rasterio's CRS. ``transform``: pixel (column, row) of
    the target to coordinates. ``border``: how far from the end of data a pixel may be right or
    wrong, in pixels of the source or the target, whichever are larger. Each band is a mosaic of
    its own: nodata and masks count band by band. All sources have the same bands.
    """
    layers = [one if isinstance(one, Layer) else Layer(one) for one in sources]
    target = _crs(crs)
    with ExitStack() as stack:
        rasters = [_Raster(stack.enter_context(rasterio.open(one.path)), one) for one in layers]
        first = rasters[0].dataset
        full = (first.count, *shape)
        result = Reference(
            values=np.zeros(full, np.result_type(*(r.dataset.dtypes[0] for r in rasters))),
            valid=np.zeros(full, bool),
            certain=np.zeros(full, bool),
            inside=np.zeros(full, bool),
            outside=np.ones(full, bool),
        )
        off_map = np.zeros(shape, bool)
        for rows, columns in _chunks(shape):
            part = (slice(None), rows, columns)
            off_map[rows, columns] = _fill(
                Reference(
                    result.values[part],
                    result.valid[part],
                    result.certain[part],
                    result.inside[part],
                    result.outside[part],
                ),
                rasters,
                target,
                transform,
                (rows.start, columns.start),
                border,
                tolerance,
            )
    # a pixel half beyond the edge of the world is on the border too
    result.outside[:] &= ~(off_map & _spread(~result.outside))
    return result


def compare(expected: Reference, values: npt.NDArray[Any], valid: npt.NDArray[Any]) -> Comparison:
    """How pixels that were read, (bands, height, width), compare with what they should be.

    ``valid``: mask of them, true or nonzero where they hold data.
    """
    there = np.asarray(valid, bool)
    same = there & _same(values, expected.values)
    return Comparison(
        inside=int(expected.inside.sum()),
        missing=int((expected.inside & ~there).sum()),
        invented=int((expected.outside & there).sum()),
        certain=int(expected.certain.sum()),
        unequal=int((expected.certain & ~same).sum()),
        valid=int(expected.valid.sum()),
        equal=int((expected.valid & same).sum()),
    )


@dataclass(frozen=True)
class _Raster:
    dataset: Any
    layer: Layer

    @property
    def crs(self) -> pyproj.CRS:
        return _crs(self.dataset.crs)

    def read(self, window: Window) -> tuple[npt.NDArray[Any], Bools]:
        """(bands, h, w) values and whether they are data."""
        values = self.dataset.read(window=window)
        if self.layer.nodata is not None:
            return values, ~_same(values, np.full((), self.layer.nodata))
        return values, self.dataset.read_masks(window=window) > 0


def _crs(crs: Any) -> pyproj.CRS:
    return pyproj.CRS.from_user_input(crs.to_wkt() if hasattr(crs, "to_wkt") else crs)


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Bools:
    equal: Bools = np.asarray(a == b)
    if np.issubdtype(a.dtype, np.floating) and np.issubdtype(b.dtype, np.floating):
        equal = equal | (np.isnan(a) & np.isnan(b))
    return equal


def _chunks(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    side = int(_CHUNK**0.5)
    for row in range(0, shape[0], side):
        for column in range(0, shape[1], side):
            yield (
                slice(row, min(row + side, shape[0])),
                slice(column, min(column + side, shape[1])),
            )


def _fill(
    part: Reference,
    rasters: Sequence[_Raster],
    target: pyproj.CRS,
    transform: Affine,
    start: tuple[int, int],
    border: float,
    tolerance: float,
) -> Bools:
    """One chunk of the target, which starts at a row and a column, through all sources.

    Returns where no source's projection has an answer.
    """
    height, width = part.valid.shape[1:]
    column, row = np.meshgrid(np.arange(width) + start[1] + 0.5, np.arange(height) + start[0] + 0.5)
    x, y = _apply(transform, column, row)
    open_ = np.ones(part.valid.shape, bool)  # no source so far has or may have data there
    known: dict[str, tuple[Floats, Floats]] = {}
    for raster in rasters:
        key = raster.crs.to_wkt()
        if key not in known:
            known[key] = _there_and_back(target, raster.crs, x, y, transform)
        sx, sy = known[key]
        _draw(part, open_, raster, sx, sy, border, tolerance)
    off_map: Bools = np.all([np.isnan(sx) for sx, _ in known.values()], axis=0)
    return off_map


def _spread(mask: Bools) -> Bools:
    """Pixels of (bands, h, w) with one of the nine around them."""
    height, width = mask.shape[1:]
    wide = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    nine = [wide[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    spread: Bools = np.any(nine, axis=0)
    return spread


def _there_and_back(
    target: pyproj.CRS, source: pyproj.CRS, x: Floats, y: Floats, transform: Affine
) -> tuple[Floats, Floats]:
    """Target coordinates in a source's CRS; NaN where the way back ends elsewhere.

    Beyond the edge of the world a projection may answer with a place on the other side: a grid
    that is a little wider than the world holds nothing there.
    """
    if target.is_geographic:
        x = np.where(np.abs(x) <= 180.0, x, np.nan)
    if target.equals(source, ignore_axis_order=True):
        return x, y
    to = pyproj.Transformer.from_crs(target, source, always_xy=True)
    sx, sy = (np.reshape(axis, x.shape) for axis in to.transform(x.ravel(), y.ravel()))
    finite = np.isfinite(sx) & np.isfinite(sy)
    bx, by = to.transform(
        np.where(finite, sx, 0.0).ravel(), np.where(finite, sy, 0.0).ravel(), direction="INVERSE"
    )
    dx, dy = np.reshape(bx, x.shape) - x, np.reshape(by, y.shape) - y
    if target.is_geographic:
        dx = (dx + 180.0) % 360.0 - 180.0  # 180 and -180 are one place
    size = abs(transform.a * transform.e - transform.b * transform.d) ** 0.5
    with np.errstate(invalid="ignore"):
        good = finite & (np.hypot(dx, dy) < 0.5 * size)
    return np.where(good, sx, np.nan), np.where(good, sy, np.nan)


def _draw(
    part: Reference,
    open_: Bools,
    raster: _Raster,
    sx: Floats,
    sy: Floats,
    border: float,
    tolerance: float,
) -> None:
    """One source under what is there already."""
    dataset = raster.dataset
    inverse = ~dataset.transform
    period = 360.0 / abs(dataset.transform.a) if raster.crs.is_geographic else None
    column, row = _apply(inverse, sx, sy)
    if period is not None:
        # a longitude counts from the raster's middle, however many turns away it is written
        half = (dataset.width - period) / 2
        column = (column - half) % period + half
    reach_x, reach_y = (border * np.maximum(1.0, _step(axis, period)) for axis in (column, row))
    with np.errstate(invalid="ignore"):
        near = (
            (column + reach_x > 0)
            & (column - reach_x < dataset.width)
            & (row + reach_y > 0)
            & (row - reach_y < dataset.height)
        )
    if not near.any():
        return
    for rows, columns in _manageable(near, column, row, reach_x, reach_y):
        here = (rows, columns)
        pick = near[here]
        if not pick.any():
            continue
        places = tuple(axis[here][pick] for axis in (column, row, reach_x, reach_y))
        found = _sample(raster, *places, tolerance)
        where = np.zeros(near.shape, bool)
        where[here] = pick
        _merge(part, open_, where, *found)


def _merge(
    part: Reference,
    open_: Bools,
    where: Bools,
    values: npt.NDArray[Any],
    valid: Bools,
    deep: Bools,
    touched: Bools,
    decided: Bools,
) -> None:
    for band in range(len(values)):
        shown = valid[band] & ~part.valid[band][where]
        part.values[band][where] = np.where(shown, values[band], part.values[band][where])
        part.valid[band][where] |= valid[band]
        free = open_[band][where]
        part.certain[band][where] |= free & deep[band] & decided[band]
        open_[band][where] = free & ~touched[band]
        part.inside[band][where] |= deep[band]
        part.outside[band][where] &= ~touched[band]


def _sample(
    raster: _Raster,
    column: Floats,
    row: Floats,
    reach_x: Floats,
    reach_y: Floats,
    tolerance: float,
) -> tuple[npt.NDArray[Any], Bools, Bools, Bools, Bools]:
    """(bands, n) value, whether it is data, all around it is, any around it is, no other value
    lies within the tolerance.
    """
    dataset = raster.dataset
    left, right = _span(column, reach_x)
    top, bottom = _span(row, reach_y)
    x0, x1 = max(0, int(left.min()) - 1), min(dataset.width, int(right.max()) + 2)
    y0, y1 = max(0, int(top.min()) - 1), min(dataset.height, int(bottom.max()) + 2)
    values, data = raster.read(Window(x0, y0, x1 - x0, y1 - y0))
    height, width = data.shape[1:]
    sums = np.zeros((len(data), height + 1, width + 1), np.int64)
    sums[:, 1:, 1:] = data.cumsum(1, dtype=np.int64).cumsum(2)
    x = [np.clip(edge - x0, 0, width) for edge in (left, right + 1)]
    y = [np.clip(edge - y0, 0, height) for edge in (top, bottom + 1)]
    count = sums[:, y[1], x[1]] - sums[:, y[0], x[1]] - sums[:, y[1], x[0]] + sums[:, y[0], x[0]]
    deep = count == (right - left + 1) * (bottom - top + 1)
    touched = count > 0

    def at(dx: float, dy: float) -> tuple[npt.NDArray[Any], Bools]:
        c, r = np.floor(column + dx).astype(int), np.floor(row + dy).astype(int)
        on = (c >= 0) & (c < dataset.width) & (r >= 0) & (r < dataset.height)
        index = np.clip(r - y0, 0, height - 1), np.clip(c - x0, 0, width - 1)
        return values[:, *index], data[:, *index] & on

    value, valid = at(0.0, 0.0)
    decided = np.ones(valid.shape, bool)
    for dx in (-tolerance, tolerance):
        for dy in (-tolerance, tolerance):
            other, other_valid = at(dx, dy)
            decided &= (other_valid == valid) & _same(other, value)
    return value, valid, deep, touched, decided


def _span(place: Floats, reach: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and last pixel within reach of a place."""
    return np.floor(place - reach).astype(np.int64), np.floor(place + reach).astype(np.int64)


def _step(axis: Floats, period: float | None) -> Floats:
    """How many source pixels a step of one target pixel goes, along both axes together."""
    total = np.zeros(axis.shape)
    for direction in (0, 1):
        if axis.shape[direction] < 2:
            continue
        steps = np.diff(axis, axis=direction)
        if period is not None:
            steps = (steps + period / 2) % period - period / 2
        steps = np.abs(steps)
        ahead = np.concatenate([steps, np.take(steps, [-1], direction)], axis=direction)
        behind = np.concatenate([np.take(steps, [0], direction), steps], axis=direction)
        total += np.fmax(np.nan_to_num(ahead), np.nan_to_num(behind))
    return total


def _manageable(
    near: Bools, column: Floats, row: Floats, reach_x: Floats, reach_y: Floats
) -> Iterator[tuple[slice, slice]]:
    """Parts of a chunk that need no more than so many source pixels at once."""
    pending = [(slice(0, near.shape[0]), slice(0, near.shape[1]))]
    while pending:
        rows, columns = here = pending.pop()
        pick = near[here]
        if not pick.any():
            continue
        sides = [
            np.ptp(axis[here][pick]) + 2 * reach[here][pick].max() + 2
            for axis, reach in ((column, reach_x), (row, reach_y))
        ]
        if sides[0] * sides[1] <= _WINDOW or max(pick.shape) < 2:
            yield here
        elif pick.shape[0] >= pick.shape[1]:
            middle = (rows.start + rows.stop) // 2
            pending += [(slice(rows.start, middle), columns), (slice(middle, rows.stop), columns)]
        else:
            middle = (columns.start + columns.stop) // 2
            pending += [(rows, slice(columns.start, middle)), (rows, slice(middle, columns.stop))]


def _apply(transform: Affine, column: Floats, row: Floats) -> tuple[Floats, Floats]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * column + b * row + c, d * column + e * row + f
