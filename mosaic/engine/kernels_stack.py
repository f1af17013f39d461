"""Compiled loops over a stack of layers: percentiles, medoids; and masks that grow.

Stacks are (layers, H, W) arrays of which some ``planes`` count, in their order; ``valid`` tells
which pixels do. Each pixel is worked out by itself, so that no chunk shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mosaic.engine.kernels import compiled, inner, uncached


@inner
def _sort(values, count):  # type: ignore[no-untyped-def]
    """Some first values, in place: by insertion, which is quick for few."""
    if count > 48:
        values[:count] = np.sort(values[:count])
        return
    for i in range(1, count):
        one = values[i]
        j = i - 1
        while j >= 0 and values[j] > one:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = one


@compiled
def percentile(stack, valid, planes, share, out, some):  # type: ignore[no-untyped-def]
    """A percentile of each pixel, between two values in proportion, as numpy has it.

    ``share``: 0 to 1. ``out`` (H, W): floating point. ``some`` (H, W): whether any layer counts.
    """
    height, width = out.shape
    depth = planes.size
    column = np.empty((width, depth), stack.dtype)
    counts = np.empty(width, np.int64)
    for r in range(height):
        counts[:] = 0
        for k in range(depth):
            plane = planes[k]
            for c in range(width):
                value = stack[plane, r, c]
                # what isn't equal to itself is no number
                take = valid[plane, r, c] and value == value
                column[c, counts[c]] = value
                counts[c] += take
        for c in range(width):
            count = counts[c]
            if count == 0:
                continue
            values = column[c]
            _sort(values, count)
            place = share * (count - 1)
            low = int(np.floor(place))
            high = min(low + 1, count - 1)
            a, b, t = float(values[low]), float(values[high]), place - low
            # as numpy rounds it: from the nearer end
            out[r, c] = b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t
            some[r, c] = True


@compiled
def medoid(stack, valid, weight, out):  # type: ignore[no-untyped-def]
    """Of each pixel the layer with the least sum of distances to the others; -1 without any.

    ``stack`` (layers, bands, H, W), ``valid`` (layers, H, W), ``weight`` (bands,) of differences.
    The first of equals counts.
    """
    depth, bands, height, width = stack.shape
    there = np.empty(depth, np.int64)
    sums = np.empty(depth)
    for r in range(height):
        for c in range(width):
            count = 0
            for k in range(depth):
                if valid[k, r, c]:
                    there[count] = k
                    sums[count] = 0
                    count += 1
            for i in range(count):
                for j in range(i + 1, count):
                    square = 0.0
                    for b in range(bands):
                        off = weight[b] * (
                            float(stack[there[i], b, r, c]) - float(stack[there[j], b, r, c])
                        )
                        square += off * off
                    far = np.sqrt(square)
                    sums[i] += far
                    sums[j] += far
            best = -1
            for i in range(count):
                if best < 0 or sums[i] < sums[best]:
                    best = i
            out[r, c] = there[best] if best >= 0 else -1


@compiled
def grown(mask, size, out):  # type: ignore[no-untyped-def]
    """Every pixel whose middle lies within ``size`` pixels of that of a masked one.

    ``mask``, ``out`` (H, W).
    """
    height, width = mask.shape
    away = np.empty((height, width), np.int32)  # columns to the next masked pixel of the row
    for r in range(height):
        last = -size - 1
        for c in range(width):
            if mask[r, c]:
                last = c
            away[r, c] = min(c - last, size + 1)
        last = width + size
        for c in range(width - 1, -1, -1):
            if mask[r, c]:
                last = c
            away[r, c] = min(away[r, c], last - c)
    for r in range(height):
        for c in range(width):
            out[r, c] = False
        for s in range(max(r - size, 0), min(r + size, height - 1) + 1):
            left = size * size - (s - r) * (s - r)
            for c in range(width):
                out[r, c] |= away[s, c] * away[s, c] <= left


def called(kernel: Any, *arguments: Any) -> None:
    """Run one of these, whatever the cache of compiled functions is in."""
    try:
        kernel(*arguments)
    except OSError:  # a disk is full, a file not ours
        uncached(kernel)(*arguments)
