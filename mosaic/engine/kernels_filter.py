"""Compiled loops that warp by filters which widen as pixels shrink.

Cubic spline and lanczos always; bilinear and cubic from two source pixels to a target pixel on.
Arguments are those of :func:`mosaic.engine.kernels.nearest`.
"""

from __future__ import annotations

import numpy as np

from mosaic.engine.kernels import LONGEST, compiled, coordinates, inner, rounded, valid
from mosaic.engine.resampling import TINY

BILINEAR, CUBIC, SPLINE, LANCZOS = range(4)


@inner
def weigh(kind, first, count, place, scale, out):  # type: ignore[no-untyped-def]
    """Weights of ``count`` pixels from ``first`` on, around a place, as numbers of pixels."""
    third = np.pi / 3 / scale
    angle = (first - place) * third
    sine, cosine = np.sin(angle), np.cos(angle)
    turn_s, turn_c = np.sin(third), np.cos(third)
    for n in range(count):
        d = (first + n - place) / scale
        a = abs(d)
        if kind == BILINEAR:
            out[n] = max(1 - a, 0.0)
        elif kind == CUBIC:
            near = a * a * (1.5 * a - 2.5) + 1
            far = a * a * (2.5 - 0.5 * a) - 4 * a + 2
            out[n] = near if a <= 1 else far if a < 2 else 0.0
        elif kind == SPLINE:
            near = (3 * a * a * a - 6 * a * a + 4) / 6
            far = (2 - a) * (2 - a) * (2 - a) / 6
            out[n] = near if a <= 1 else far if a < 2 else 0.0
        else:
            # sin(3 x) = 3 sin(x) - 4 sin(x) ^ 3, and angles are added instead of taken anew
            lobes = (3 - 4 * sine * sine) * sine * sine
            out[n] = 1.0 if a < 1e-6 else lobes / (np.pi * np.pi / 3 * a * a) if a < 3 else 0.0
            sine, cosine = sine * turn_c + cosine * turn_s, cosine * turn_c - sine * turn_s


@compiled
def filtered(  # type: ignore[no-untyped-def]
    window, mask, gap, nodata, row0, col0, origin, size, column, row, todo, low, high,
    scale_y, scale_x, kind, out, filled,
):  # fmt: skip
    """Fill a target by a filter over the valid pixels below it.

    A target pixel is valid if its nearest source pixel is.
    """
    height, width = window.shape
    xs, ys = np.empty(LONGEST), np.empty(LONGEST)
    radius = 1 if kind == BILINEAR else 3 if kind == LANCZOS else 2
    reach_x, reach_y = int(np.ceil(radius * scale_x)), int(np.ceil(radius * scale_y))
    across, down = np.empty(2 * reach_x + 1), np.empty(2 * reach_y + 1)
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
                if not (x + TINY >= col0 and x + TINY < col0 + width):
                    continue
                if not (y + TINY >= row0 and y + TINY < row0 + height):
                    continue
                n, m = int(y + TINY) - row0, int(x + TINY) - col0
                if not valid(window[n, m], gap, nodata) or (masked and not mask[n, m]):
                    continue
                fx, fy = np.floor(x - 0.5), np.floor(y - 0.5)
                i, j = int(fx) - col0, int(fy) - row0
                weigh(kind, -reach_x, 2 * reach_x + 1, x - 0.5 - fx, scale_x, across)
                weigh(kind, -reach_y, 2 * reach_y + 1, y - 0.5 - fy, scale_y, down)
                total = weights = 0.0
                first, last = max(i - reach_x, 0), min(i + reach_x, width - 1)
                for n in range(max(j - reach_y, 0), min(j + reach_y, height - 1) + 1):
                    line = weight = 0.0
                    for m in range(first, last + 1):
                        one = across[m - i + reach_x]
                        if not plain:
                            if not valid(window[n, m], gap, nodata):
                                continue
                            if masked and not mask[n, m]:
                                continue
                        line += one * window[n, m]
                        weight += one
                    total += down[n - j + reach_y] * line
                    weights += down[n - j + reach_y] * weight
                if weights >= 1e-6:
                    out[r, c] = rounded(total / weights, low, high)
                    filled[r, c] = True
