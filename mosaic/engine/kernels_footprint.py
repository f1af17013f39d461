"""Compiled loops that warp by all source pixels under a target pixel.

Arguments are those of :func:`mosaic.engine.kernels.nearest`; the lattice is one of corners.
"""

from __future__ import annotations

import numpy as np

from mosaic.engine.kernels import LONGEST, compiled, coordinates, inner, rounded, valid
from mosaic.engine.resampling import TINY

AVERAGE, RMS, MIN, MAX, MODE, Q1, MED, Q3 = range(8)

MODEST = 0.35
"""Tangent up to which a rotated target pixel is taken for upright, as in GDAL."""


@inner
def span(a, b, c, d, modest):  # type: ignore[no-untyped-def]
    """Least and greatest coordinate of a footprint with corners a b over c d along one axis.

    Between opposite corners, as in GDAL, if the pixel is hardly rotated; else (where these may
    be next to each other) a square of the pixel's own size around its middle.
    """
    if modest:
        return min(a, d), max(a, d)
    middle = (a + b + c + d) / 4
    half = np.hypot(b - a, c - a) / 2
    return middle - half, middle + half


@inner
def pick(values, count, wanted):  # type: ignore[no-untyped-def]
    """The value that would be at a place if values were sorted."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@compiled
def footprint(  # type: ignore[no-untyped-def]
    window, mask, gap, nodata, row0, col0, origin, size, column, row, todo, low, high,
    scale_y, scale_x, kind, out, filled,
):  # fmt: skip
    """Fill a target from the valid pixels under each of its pixels.

    A target pixel is valid if any of them is. Average, rms and mode weigh pixels by their area.
    """
    height, width = window.shape
    x0, y0, x1, y1 = np.empty(LONGEST), np.empty(LONGEST), np.empty(LONGEST), np.empty(LONGEST)
    values, counts = np.empty(256, window.dtype), np.empty(256)
    masked = mask.size > 0
    share = 0.25 if kind == Q1 else 0.5 if kind == MED else 0.75
    for k in range(size.size):
        if todo[k] == 0:
            continue
        top, left = origin[k]
        c0, c1 = max(left, 0), min(left + size[k], out.shape[1])
        for r in range(max(top, 0), min(top + size[k], out.shape[0])):
            coordinates(column[k], size[k], r - top, c0 - left, c1 - c0 + 1, x0)
            coordinates(row[k], size[k], r - top, c0 - left, c1 - c0 + 1, y0)
            coordinates(column[k], size[k], r - top + 1, c0 - left, c1 - c0 + 1, x1)
            coordinates(row[k], size[k], r - top + 1, c0 - left, c1 - c0 + 1, y1)
            for c in range(c0, c1):
                if filled[r, c]:
                    continue
                n = c - c0
                ux, uy = abs(x0[n + 1] - x0[n]), abs(y0[n + 1] - y0[n])
                vx, vy = abs(x1[n] - x0[n]), abs(y1[n] - y0[n])
                modest = (uy <= MODEST * ux and vx <= MODEST * vy) or (
                    ux <= MODEST * uy and vy <= MODEST * vx
                )
                west, east = span(x0[n], x0[n + 1], x1[n], x1[n + 1], modest)
                north, south = span(y0[n], y0[n + 1], y1[n], y1[n + 1], modest)
                if not (east > col0 - TINY and west < col0 + width + TINY):
                    continue
                if not (south > row0 - TINY and north < row0 + height + TINY):
                    continue
                i0, i1 = int(np.floor(west + TINY)), int(np.ceil(east - TINY))
                j0, j1 = int(np.floor(north + TINY)), int(np.ceil(south - TINY))
                i1, j1 = max(i1, i0 + 1), max(j1, j0 + 1)
                single_x, single_y = i1 == i0 + 1, j1 == j0 + 1
                i0, i1 = max(i0, col0), min(i1, col0 + width)
                j0, j1 = max(j0, row0), min(j1, row0 + height)
                if (i1 - i0) * (j1 - j0) > values.size:
                    values = np.empty((i1 - i0) * (j1 - j0), window.dtype)
                    counts = np.empty((i1 - i0) * (j1 - j0))
                found, best = 0, 0
                total = weights = 0.0
                for j in range(j0, j1):
                    down = 1.0 if single_y else min(j + 1.0, south) - max(float(j), north)
                    for i in range(i0, i1):
                        value = window[j - row0, i - col0]
                        if not valid(value, gap, nodata):
                            continue
                        if masked and not mask[j - row0, i - col0]:
                            continue
                        across = 1.0 if single_x else min(i + 1.0, east) - max(float(i), west)
                        weight = down * across
                        if kind == AVERAGE:
                            total += weight * value
                            weights += weight
                        elif kind == RMS:
                            total += weight * (float(value) * float(value))
                            weights += weight
                        elif kind == MODE:
                            at = 0
                            while at < found and values[at] != value:
                                if value != value and values[at] != values[at]:
                                    break
                                at += 1
                            if at == found:
                                values[at], counts[at] = value, 0.0
                                found += 1
                            counts[at] += weight
                            if counts[at] > counts[best]:
                                best = at
                        elif kind <= MAX:
                            better = value < values[0] if kind == MIN else value > values[0]
                            if found == 0 or better or values[0] != values[0]:
                                values[0] = value
                            found = 1
                        else:
                            values[found] = value
                            found += 1
                if kind <= RMS:
                    if weights > 0:
                        mean = total / weights
                        out[r, c] = rounded(np.sqrt(mean) if kind == RMS else mean, low, high)
                        filled[r, c] = True
                elif found > 0:
                    if kind >= Q1:
                        out[r, c] = pick(values, found, int(np.ceil(share * found - 1)))
                    else:
                        out[r, c] = values[best]
                    filled[r, c] = True
