"""What each method should give, in plain numpy from PROJ's place of every pixel: the reference.

Written from the definitions (Keys 1981, Mitchell 1988, Lanczos with three lobes, overlap of
areas), pixel by pixel and tap by tap, without any of the project's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Result = tuple[Array, npt.NDArray[np.bool_]]


def scene(
    shape: tuple[int, int], dtype: str = "uint16", seed: int = 0, holes: bool = True
) -> Array:
    """Waves and noise, with single pixels and a rectangle of nodata (0)."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[: shape[0], : shape[1]]
    waves = 0.3 + 0.2 * np.sin(column / 9) * np.cos(row / 7) + rng.normal(0, 0.03, shape)
    top = {"uint8": 250, "int8": 120}.get(dtype, 10000)
    values = np.clip(waves * top, 1, top).astype(dtype)
    if holes:
        values[rng.random(shape) < 0.002] = 0
        values[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = 0
    return values


def _bilinear(d: Array) -> Array:
    return np.maximum(1 - d, 0)


def _cubic(d: Array) -> Array:
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def _spline(d: Array) -> Array:
    near, far = 2 / 3 - d**2 + d**3 / 2, (2 - d) ** 3 / 6
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def _lanczos(d: Array) -> Array:
    return np.where(d < 3, np.sinc(d) * np.sinc(d / 3), 0)


FILTERS: dict[str, tuple[Callable[[Array], Array], int]] = {
    "bilinear": (_bilinear, 1),
    "cubic": (_cubic, 2),
    "cubic_spline": (_spline, 2),
    "lanczos": (_lanczos, 3),
}


def nearest(source: Array, good: Array, column: Array, row: Array) -> Result:
    """The pixel that a place lies in."""
    i, j = np.floor(np.nan_to_num(column, nan=-1)), np.floor(np.nan_to_num(row, nan=-1))
    inside = (i >= 0) & (i < source.shape[1]) & (j >= 0) & (j < source.shape[0])
    i, j = (np.where(inside, part, 0).astype(int) for part in (i, j))
    return source[j, i], inside & good[j, i]


def filtered(
    name: str, source: Array, good: Array, column: Array, row: Array, wide: tuple[float, float]
) -> Result:
    """The weighted mean of valid pixels; valid where the nearest is."""
    weigh, radius = FILTERS[name]
    _, near = nearest(source, good, column, row)
    x, y = (np.where(near, part, 0.5) - 0.5 for part in (column, row))
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weights = np.zeros(x.shape), np.zeros(x.shape)
    whole = np.ones(x.shape, bool)
    down, along = (int(np.ceil(radius * w)) for w in wide)
    for dj in range(-down, down + 1):
        for di in range(-along, along + 1):
            inside = (i + di >= 0) & (i + di < source.shape[1])
            inside &= (j + dj >= 0) & (j + dj < source.shape[0])
            at = np.where(inside, j + dj, 0), np.where(inside, i + di, 0)
            taken = inside & good[at]
            if 1 - radius <= di <= radius and 1 - radius <= dj <= radius:
                whole &= taken
            weight = weigh(abs(i + di - x) / wide[1]) * weigh(abs(j + dj - y) / wide[0])
            total += np.where(taken, weight * source[at].astype(float), 0)
            weights += np.where(taken, weight, 0)
    if name == "cubic" and wide == (1.0, 1.0):
        simple, _ = filtered("bilinear", source, good, column, row, wide)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(whole, total / weights, simple), near
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / weights, near & (weights > 1e-5)


def rounded(values: Array, dtype: npt.DTypeLike) -> Array:
    """Sums as integers: half up, clamped."""
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.floor(np.nan_to_num(values) + 0.5), info.min, info.max).astype(dtype)


def footprint(name: str, source: Array, good: Array, column: Array, row: Array) -> Result:
    """All pixels between a target pixel's upper left and lower right corner.

    ``column``, ``row``: (h + 1, w + 1) places of corners.
    """
    shape = column.shape[0] - 1, column.shape[1] - 1
    values, valid = np.zeros(shape), np.zeros(shape, bool)
    for r in range(shape[0]):
        for c in range(shape[1]):
            west, east = sorted((column[r, c], column[r + 1, c + 1]))
            north, south = sorted((row[r, c], row[r + 1, c + 1]))
            if not (east > 0 and south > 0 and west < source.shape[1] and north < source.shape[0]):
                continue
            i = np.arange(max(int(west), 0), min(int(np.ceil(east)), source.shape[1]))
            j = np.arange(max(int(north), 0), min(int(np.ceil(south)), source.shape[0]))
            across = np.minimum(i + 1, east) - np.maximum(i, west)
            down = np.minimum(j + 1, south) - np.maximum(j, north)
            area = (down[:, None] * across)[good[np.ix_(j, i)]]
            here = source[np.ix_(j, i)][good[np.ix_(j, i)]]
            if not here.size:
                continue
            valid[r, c] = True
            values[r, c] = _of(name, here, area)
    return values, valid


def _of(name: str, here: Array, area: Array) -> float:
    if name == "average":
        return float((here * area).sum() / area.sum())
    if name == "rms":
        return float(np.sqrt((here.astype(float) ** 2 * area).sum() / area.sum()))
    if name == "mode":
        kinds, which = np.unique(here, return_inverse=True)
        return float(kinds[np.argmax(np.bincount(which, area))])
    if name in ("min", "max"):
        return float(getattr(here, name)())
    share = {"q1": 0.25, "med": 0.5, "q3": 0.75}[name]
    return float(np.sort(here)[int(np.ceil(share * here.size)) - 1])
