"""One source window warped into a target: what the compiled kernels are called through.

Methods are GDAL's, as ``gdalwarp -et 0`` has them, but for these:

* validity is kept apart from values, so a result may equal nodata and is still valid (GDAL
  moves it by one);
* filters widen by one scale for each pair of grids, where GDAL takes another in each chunk:
  here a pixel has the same value, to the last bit, in whatever window it is computed;
* a footprint that sticks out of the source is weighed by what lies within, and a rotated one
  (by more than 19 degrees) is a square of its own size, where GDAL's may have no width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.engine.lattice import Lattice
from mosaic.engine.resampling import Method, Scale, reach, widening, widens
from mosaic.errors import UsageError
from mosaic.grid import Floats

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

_NO_MASK = np.empty((0, 0), np.bool_)
_NO_MASK.flags.writeable = False

_FOOTPRINTS = ("average", "rms", "min", "max", "mode", "q1", "med", "q3")
_FILTERS = ("bilinear", "cubic", "cubic_spline", "lanczos")


def warp(
    window: Array,
    offset: tuple[int, int],
    lattice: Lattice,
    how: Method,
    *,
    scale: Scale = (1.0, 1.0),
    valid: Bools | None = None,
    nodata: float | None = None,
) -> tuple[Array, Bools]:
    """A window of a source, warped: values (0 where invalid) and validity of the target.

    Arguments are those of :func:`fill`.
    """
    values = np.zeros(lattice.shape, window.dtype)
    filled = np.zeros(lattice.shape, np.bool_)
    fill(values, filled, window, offset, lattice, how, scale=scale, valid=valid, nodata=nodata)
    return values, filled


def fill(
    out: Array,
    filled: Bools,
    window: Array,
    offset: tuple[int, int],
    lattice: Lattice,
    how: Method,
    *,
    scale: Scale = (1.0, 1.0),
    valid: Bools | None = None,
    nodata: float | None = None,
    reached: Floats | None = None,
) -> None:
    """Warp a window of a source into a target, in place, off the GIL.

    ``out``, ``filled``: (H, W) values and validity, contiguous, of the lattice's shape. Pixels
    that are filled stay as they are, so scenes are given from the top down. ``window``: (h, w)
    pixels of a raster or overview, of any integer or float type that ``out`` holds, from
    ``offset`` (row, column) on; what lies beyond it counts as outside the raster, so it must hold
    what :func:`~mosaic.engine.resampling.needed` tells.
    ``lattice``: at that overview, of corners if the method takes footprints; of some of its
    pieces, only these are done. ``scale``: source pixels of the overview to a target pixel.
    ``valid``: (h, w) mask of the window; ``nodata``: a value that is invalid besides.
    ``reached``: what :func:`~mosaic.engine.resampling.reach` tells, where that is known already.
    Raises :class:`~mosaic.errors.UsageError` for arrays that can't be meant.
    """
    _check(out, filled, window, offset, lattice, how, valid)
    gap, missing = _nodata(nodata, window.dtype)
    info = np.iinfo(out.dtype) if out.dtype.kind in "iu" else None
    low, high = (1.0, 0.0) if info is None else (float(info.min), _most(info))
    wide = widening(how, scale)
    if reached is None:
        reached = reach(lattice, how, scale)
    kernel, kind = _kernel(how, widens(how, scale))
    arguments = (
        _readonly(window),
        _NO_MASK if valid is None else _readonly(valid),
        gap,
        missing,
        *map(int, offset),
        *map(np.ascontiguousarray, (lattice.origin, lattice.size, lattice.column, lattice.row)),
        _todo(window.shape, offset, lattice, reached),
        low,
        high,
        *map(float, wide),
        kind,
        out,
        filled,
    )
    try:
        kernel(*arguments)
    except OSError:  # of the cache of compiled kernels: a disk is full, a file not ours
        from mosaic.engine.kernels import uncached

        uncached(kernel)(*arguments)


def _kernel(how: Method, filtered: bool) -> tuple[Any, int]:
    """The compiled function of a method, and which of its kinds; numba is imported here."""
    if how.footprint:
        from mosaic.engine import kernels_footprint

        return kernels_footprint.footprint, _FOOTPRINTS.index(how.name)
    if filtered:
        from mosaic.engine import kernels_filter

        return kernels_filter.filtered, _FILTERS.index(how.name)
    from mosaic.engine import kernels

    return getattr(kernels, how.name), 0


def _todo(
    shape: tuple[int, ...], offset: tuple[int, int], made: Lattice, reached: Floats
) -> npt.NDArray[np.uint8]:
    """(k,) 0 for pieces off a window, 2 for those that lie within it with their halo, else 1."""
    low, high = reached[:, :2], reached[:, 2:]
    first, last = np.array(offset), np.array(offset) + shape
    touching = (low < last).all(1) & (high > first).all(1)
    within = (low >= first).all(1) & (high <= last).all(1)
    within &= np.isfinite(made.column + made.row).all((1, 2))
    return np.where(touching, np.where(within, 2, 1), 0).astype(np.uint8)


def _check(
    out: Array,
    filled: Bools,
    window: Array,
    offset: tuple[int, int],
    made: Lattice,
    how: Method,
    valid: Bools | None,
) -> None:
    if window.dtype.kind not in "iuf" or window.dtype.itemsize * 8 not in (8, 16, 32, 64):
        raise UsageError(f"pixels of type {window.dtype} can't be warped")
    if window.dtype == np.float16 or not window.dtype.isnative:
        raise UsageError(f"pixels of type {window.dtype.str} can't be warped: convert them first")
    if not np.can_cast(window.dtype, out.dtype, "safe") or not out.dtype.isnative:
        raise UsageError(f"a target of {out.dtype} can't hold pixels of {window.dtype}")
    if window.ndim != 2 or (valid is not None and valid.shape != window.shape):
        raise UsageError("a window has two dimensions, and its mask the same shape")
    if not out.shape == filled.shape == made.shape:
        raise UsageError(f"a target of {out.shape} doesn't fit a lattice of {made.shape}")
    if not (out.flags.c_contiguous and filled.flags.c_contiguous):
        raise UsageError("a target must be contiguous")
    if filled.dtype != np.bool_ or (valid is not None and valid.dtype != np.bool_):
        raise UsageError("masks are of type bool")
    if made.corners != how.footprint:
        nodes = "corners" if how.footprint else "centres"
        raise UsageError(f"{how.name} takes a lattice of {nodes}")
    if min(offset) < 0:
        raise UsageError(f"a window begins within its raster, not at {offset}")


def _nodata(nodata: float | None, dtype: np.dtype[Any]) -> tuple[int, Any]:
    """How a kernel compares with nodata, and with what: no pixel is what its type can't hold."""
    zero = dtype.type(0)
    if nodata is None:
        return 0, zero
    if nodata != nodata:
        return (2, zero) if dtype.kind == "f" else (0, zero)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return 1, dtype.type(nodata)
    info = np.iinfo(dtype)
    fits = info.min <= nodata <= info.max and int(nodata) == nodata
    return (1, dtype.type(int(nodata))) if fits else (0, zero)


def _most(info: Any) -> float:
    """The greatest float that a type of integers holds."""
    most = float(info.max)
    return most if int(most) <= info.max else float(np.nextafter(most, 0))


def _readonly(array: Array) -> Array:
    """A contiguous view that isn't writable: one compiled kernel for all."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
