"""Canvases to the arrays that are handed out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mosaic.cube.keys import Run

Array = npt.NDArray[Any]


def planes(parts: Sequence[Array], at: Sequence[tuple[int, int]]) -> Array:
    """(n, H, W) planes of canvases, by layer and place in it; without a copy where they adjoin."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    index = [int(starts[layer]) + place for layer, place in at]
    base = parts[at[0][0]].base
    whole = base is not None and len(base) == starts[-1]
    if whole and index == list(range(index[0], index[0] + len(index))):
        assert base is not None
        return base[index[0] : index[-1] + 1]
    return np.stack([parts[layer][place] for layer, place in at])


def cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Numbers in another type: rounded, and those beyond its ends at the end, as GDAL does."""
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu":
        ends = np.iinfo(dtype)
        if values.dtype.kind == "f":
            whole = np.trunc(values + np.copysign(0.5, values))  # halves go away from zero
            made = np.zeros(values.shape, dtype)  # and what is no number is 0
            inside = (whole >= ends.min) & (whole < float(ends.max))
            np.copyto(made, ends.max, where=whole >= float(ends.max))
            np.copyto(made, ends.min, where=whole < ends.min)
            made[inside] = whole[inside].astype(dtype)
            return made
        own = np.iinfo(values.dtype)
        values = np.clip(values, max(ends.min, own.min), min(ends.max, own.max))
    return values.astype(dtype)


def picked(values: Array, row: Run, column: Run) -> Array:
    """(T, h, w) of a window to what of its runs is wanted."""
    if row.picked is not None:
        values = values[:, list(row.picked)]
    return values if column.picked is None else values[:, :, list(column.picked)]
