"""Compiled loops that warp by points: nearest, bilinear, cubic.

Each fills the pixels of a target from one source window, piece by piece of a lattice. All of
them take the same arguments (:func:`nearest` tells them). They are compiled at their first call
for a dtype and kept in numba's cache folder; where none is writable they are compiled anew in
every process. No fast maths: a sum is added in one order, whatever the chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numba.core.compiler_lock import global_compiler_lock

from mosaic.bridge import take_in_forks
from mosaic.engine.pieces import LARGEST
from mosaic.engine.resampling import TINY

take_in_forks(global_compiler_lock)

LONGEST = LARGEST + 1
"""Pixels, or corners of pixels, along a piece at most."""


def inner(function: Callable[..., Any]) -> Any:
    """A function that compiled ones call; it is kept in the cache as a part of them."""
    return njit(nogil=True, error_model="numpy")(function)


def compiled(function: Callable[..., Any]) -> Any:
    """A function compiled when called, off the GIL, and cached where there is a place for it."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder that could be a cache
        return inner(function)


@lru_cache
def uncached(kernel: Any) -> Any:
    """A compiled function without its cache, for when that can't be read or is full."""
    return inner(kernel.py_func)


@inner
def coordinates(nodes, size, line, first, count, out):  # type: ignore[no-untyped-def]
    """Coordinates along one line of a piece, from its 3 x 3 nodes."""
    if size == 2:
        for i in range(count):
            out[i] = nodes[line, first + i]
        return
    v = 2.0 * line / size
    a, b, c = (1 - v) * (2 - v) / 2, v * (2 - v), v * (v - 1) / 2
    p = a * nodes[0, 0] + b * nodes[1, 0] + c * nodes[2, 0]
    q = a * nodes[0, 1] + b * nodes[1, 1] + c * nodes[2, 1]
    r = a * nodes[0, 2] + b * nodes[1, 2] + c * nodes[2, 2]
    second = (r - 2 * q + p) / 2
    slope = (q - p - second) * (2.0 / size)
    second *= (2.0 / size) * (2.0 / size)
    for i in range(count):
        u = float(first + i)
        out[i] = p + u * (slope + u * second)


@inner
def valid(value, gap, nodata):  # type: ignore[no-untyped-def]
    """Whether a source pixel isn't nodata. ``gap``: 0 without nodata, 1 with, 2 if it is NaN."""
    if gap == 0:
        return True
    return value == value if gap == 2 else value != nodata


@inner
def rounded(value, low, high):  # type: ignore[no-untyped-def]
    """A sum for an integer (``low`` < ``high``): rounded half up and clamped, as in GDAL."""
    return min(max(np.floor(value + 0.5), low), high) if low < high else value


@compiled
def nearest(  # type: ignore[no-untyped-def]
    window, mask, gap, nodata, row0, col0, origin, size, column, row, todo, low, high,
    scale_y, scale_x, kind, out, filled,
):  # fmt: skip
    """Fill a target by nearest neighbour.

    ``window`` (h, w): source pixels from ``row0``, ``col0`` on. ``mask`` (h, w) of the valid
    ones, or of size 0. ``gap``, ``nodata``: as :func:`valid` has them. ``origin``, ``size``,
    ``column``, ``row``: the lattice. ``todo`` (k,): 0 for pieces to skip, 2 for those whose
    source pixels all lie within the window. ``low``, ``high``: where to clamp. ``scale_y``,
    ``scale_x``: how far a filter is widened. ``kind``: which of a kernel's methods. ``out``,
    ``filled`` (H, W): the target, and which of its pixels are valid: those stay as they are.
    """
    height, width = window.shape
    xs, ys = np.empty(LONGEST), np.empty(LONGEST)
    columns, rows = np.empty(LONGEST, np.uint32), np.empty(LONGEST, np.uint32)
    masked = mask.size > 0
    for k in range(size.size):
        if todo[k] == 0:
            continue
        top, left = origin[k]
        c0, c1 = max(left, 0), min(left + size[k], out.shape[1])
        for r in range(max(top, 0), min(top + size[k], out.shape[0])):
            coordinates(column[k], size[k], r - top, c0 - left, c1 - c0, xs)
            coordinates(row[k], size[k], r - top, c0 - left, c1 - c0, ys)
            for n in range(c1 - c0):
                xs[n] += TINY
                ys[n] += TINY
            if todo[k] == 2:
                # plain loops that the compiler turns into vectors
                for n in range(c1 - c0):
                    columns[n] = np.int32(xs[n]) - col0
                    rows[n] = np.int32(ys[n]) - row0
                for n in range(c1 - c0):
                    value = window[rows[n], columns[n]]
                    free = not filled[r, c0 + n] and valid(value, gap, nodata)
                    if masked:
                        free = free and mask[rows[n], columns[n]]
                    out[r, c0 + n] = value if free else out[r, c0 + n]
                    filled[r, c0 + n] |= free
                continue
            for n in range(c1 - c0):
                x, y, c = xs[n], ys[n], c0 + n
                if not (x >= col0 and x < col0 + width and y >= row0 and y < row0 + height):
                    continue
                i, j = int(x) - col0, int(y) - row0
                free = not filled[r, c] and valid(window[j, i], gap, nodata)
                if free and not (masked and not mask[j, i]):
                    out[r, c] = window[j, i]
                    filled[r, c] = True


@inner
def linear(window, mask, masked, gap, nodata, i, j, t, u):  # type: ignore[no-untyped-def]
    """Weight and weighted sum of the valid ones of the four pixels from column i, row j on."""
    height, width = window.shape
    total = weights = 0.0
    for dj in range(2):
        if j + dj < 0 or j + dj >= height:
            continue
        for di in range(2):
            if i + di < 0 or i + di >= width:
                continue
            if masked and not mask[j + dj, i + di]:
                continue
            if valid(window[j + dj, i + di], gap, nodata):
                weight = (t if di else 1 - t) * (u if dj else 1 - u)
                total += weight * window[j + dj, i + di]
                weights += weight
    return weights, total


@compiled
def bilinear(  # type: ignore[no-untyped-def]
    window, mask, gap, nodata, row0, col0, origin, size, column, row, todo, low, high,
    scale_y, scale_x, kind, out, filled,
):  # fmt: skip
    """Fill a target by bilinear interpolation between the valid ones of four pixels.

    A target pixel is valid if its nearest source pixel is.
    """
    height, width = window.shape
    xs, ys = np.empty(LONGEST), np.empty(LONGEST)
    masked = mask.size > 0
    for k in range(size.size):
        if todo[k] == 0:
            continue
        top, left = origin[k]
        c0, c1 = max(left, 0), min(left + size[k], out.shape[1])
        for r in range(max(top, 0), min(top + size[k], out.shape[0])):
            coordinates(column[k], size[k], r - top, c0 - left, c1 - c0, xs)
            coordinates(row[k], size[k], r - top, c0 - left, c1 - c0, ys)
            for c in range(c0, c1):
                if filled[r, c]:
                    continue
                x, y = xs[c - c0], ys[c - c0]
                if todo[k] == 1:
                    if not (x + TINY >= col0 and x + TINY < col0 + width):
                        continue
                    if not (y + TINY >= row0 and y + TINY < row0 + height):
                        continue
                fx, fy = np.floor(x - 0.5), np.floor(y - 0.5)
                i, j = int(fx) - col0, int(fy) - row0
                t, u = x - 0.5 - fx, y - 0.5 - fy
                if todo[k] == 2 or (i >= 0 and i + 1 < width and j >= 0 and j + 1 < height):
                    v00, v01 = window[j, i], window[j, i + 1]
                    v10, v11 = window[j + 1, i], window[j + 1, i + 1]
                    whole = valid(v00, gap, nodata) and valid(v01, gap, nodata)
                    whole = whole and valid(v10, gap, nodata) and valid(v11, gap, nodata)
                    if masked:
                        whole = whole and mask[j, i] and mask[j, i + 1]
                        whole = whole and mask[j + 1, i] and mask[j + 1, i + 1]
                    if whole:
                        upper = v00 * (1 - t) + v01 * t
                        lower = v10 * (1 - t) + v11 * t
                        out[r, c] = rounded(upper * (1 - u) + lower * u, low, high)
                        filled[r, c] = True
                        continue
                n, m = int(y + TINY) - row0, int(x + TINY) - col0
                if not valid(window[n, m], gap, nodata) or (masked and not mask[n, m]):
                    continue
                weights, total = linear(window, mask, masked, gap, nodata, i, j, t, u)
                if weights >= 1e-5:
                    out[r, c] = rounded(total / weights, low, high)
                    filled[r, c] = True


@compiled
def cubic(  # type: ignore[no-untyped-def]
    window, mask, gap, nodata, row0, col0, origin, size, column, row, todo, low, high,
    scale_y, scale_x, kind, out, filled,
):  # fmt: skip
    """Fill a target by cubic convolution; bilinear where one of the 16 pixels isn't valid.

    A target pixel is valid if its nearest source pixel is.
    """
    height, width = window.shape
    xs, ys = np.empty(LONGEST), np.empty(LONGEST)
    masked = mask.size > 0
    plain = not masked and gap == 0
    for k in range(size.size):
        if todo[k] == 0:
            continue
        top, left = origin[k]
        c0, c1 = max(left, 0), min(left + size[k], out.shape[1])
        for r in range(max(top, 0), min(top + size[k], out.shape[0])):
            coordinates(column[k], size[k], r - top, c0 - left, c1 - c0, xs)
            coordinates(row[k], size[k], r - top, c0 - left, c1 - c0, ys)
            for c in range(c0, c1):
                if filled[r, c]:
                    continue
                x, y = xs[c - c0], ys[c - c0]
                if todo[k] == 1:
                    if not (x + TINY >= col0 and x + TINY < col0 + width):
                        continue
                    if not (y + TINY >= row0 and y + TINY < row0 + height):
                        continue
                fx, fy = np.floor(x - 0.5), np.floor(y - 0.5)
                i, j = int(fx) - col0, int(fy) - row0
                t, u = x - 0.5 - fx, y - 0.5 - fy
                whole = todo[k] == 2 or (i >= 1 and i + 2 < width and j >= 1 and j + 2 < height)
                if whole and not plain:
                    for n in range(j - 1, j + 3):
                        for m in range(i - 1, i + 3):
                            if not valid(window[n, m], gap, nodata) or (masked and not mask[n, m]):
                                whole = False
                if whole:
                    a0 = 0.5 * t * (-1 + t * (2 - t))
                    a1 = 1 + 0.5 * t * t * (-5 + 3 * t)
                    a2 = 0.5 * t * (1 + t * (4 - 3 * t))
                    a3 = 0.5 * t * t * (t - 1)
                    b0 = 0.5 * u * (-1 + u * (2 - u))
                    b1 = 1 + 0.5 * u * u * (-5 + 3 * u)
                    b2 = 0.5 * u * (1 + u * (4 - 3 * u))
                    b3 = 0.5 * u * u * (u - 1)
                    total = 0.0
                    for m in range(4):
                        n = j - 1 + m
                        b = b0 if m == 0 else b1 if m == 1 else b2 if m == 2 else b3
                        total += b * (
                            a0 * window[n, i - 1]
                            + a1 * window[n, i]
                            + a2 * window[n, i + 1]
                            + a3 * window[n, i + 2]
                        )
                    out[r, c] = rounded(total, low, high)
                    filled[r, c] = True
                    continue
                n, m = int(y + TINY) - row0, int(x + TINY) - col0
                if not valid(window[n, m], gap, nodata) or (masked and not mask[n, m]):
                    continue
                weights, total = linear(window, mask, masked, gap, nodata, i, j, t, u)
                if weights >= 1e-5:
                    out[r, c] = rounded(total / weights, low, high)
                    filled[r, c] = True
