"""What a mosaic must show, by PROJ at every pixel and rasterio for the files: no lattice, no GDAL
warper, nothing of the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from affine import Affine

EDGE = 1e-10
"""GDAL's: a place so little short of a pixel's edge counts as beyond it."""


@dataclass(frozen=True)
class Shown:
    """A window as it must be."""

    values: np.ndarray
    """(h, w) numbers; 0 where there is none."""
    valid: np.ndarray
    """(h, w) whether a scene shows."""


def shown(
    files: Sequence[Path],
    crs: str,
    transform: Affine,
    shape: tuple[int, int],
    method: str,
    band: int = 1,
) -> Shown:
    """Files on each other, the first on top. ``method``: nearest, bilinear or cubic."""
    height, width = shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = transform @ (column.ravel(), row.ravel())
    values, valid = np.zeros(shape), np.zeros(shape, bool)
    for path in files:
        with rasterio.open(path) as dataset:
            pixels, good = dataset.read(band), dataset.read_masks(band) > 0
            own, back = dataset.crs.to_wkt(), ~dataset.transform
            if dataset.nodata != dataset.nodata:
                good = ~np.isnan(pixels)
        to = pyproj.Transformer.from_crs(crs, own, always_xy=True)
        sx, sy = (np.asarray(part) for part in to.transform(x, y))
        u, v = _pixels(back, sx, sy, shape)
        turn = _turn(own)
        for k in (-1, 1) if turn else ():
            # a map of the world goes on beyond its edge: the copy that lies nearest counts
            u1, v1 = _pixels(back, sx + k * turn, sy, shape)
            nearer = _beyond(u1, pixels.shape[1]) < _beyond(u, pixels.shape[1])
            u, v = np.where(nearer, u1, u), np.where(nearer, v1, v)
        found = _METHODS[method](pixels, good, u, v)
        new = found.valid & ~valid
        values[new] = found.values[new]
        valid |= new
    return Shown(values, valid)


def _turn(wkt: str) -> float:
    """How wide a map of the world is, or 0 where it has no edge at 180 degrees."""
    crs = pyproj.CRS(wkt)
    if crs.is_geographic:
        return 360.0
    return 2 * np.pi * 6378137 if crs.to_epsg() == 3857 else 0.0


def _pixels(
    back: Affine, x: np.ndarray, y: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) fractional columns and rows; far off where PROJ has no answer."""
    with np.errstate(invalid="ignore"):
        u, v = (np.nan_to_num(part.reshape(shape), nan=-1e9) for part in back @ (x, y))
    return np.clip(u, -1e9, 1e9), np.clip(v, -1e9, 1e9)


def _beyond(u: np.ndarray, width: int) -> np.ndarray:
    """Columns from a place to the raster."""
    beyond: np.ndarray = np.maximum(np.maximum(-u, u - width), 0)
    return beyond


def _at(pixels: np.ndarray, good: np.ndarray, c: np.ndarray, r: np.ndarray) -> Shown:
    height, width = pixels.shape
    inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
    place = np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)
    return Shown(pixels[place].astype(float), inside & good[place])


def _nearest(pixels: np.ndarray, good: np.ndarray, u: np.ndarray, v: np.ndarray) -> Shown:
    return _at(pixels, good, np.floor(u + EDGE).astype(int), np.floor(v + EDGE).astype(int))


def _bilinear(pixels: np.ndarray, good: np.ndarray, u: np.ndarray, v: np.ndarray) -> Shown:
    near = _nearest(pixels, good, u, v)
    values, _ = _summed(pixels, good, u, v, 1, lambda d: 1 - d)
    return Shown(np.where(near.valid, np.floor(values + 0.5), 0), near.valid)


def _cubic(pixels: np.ndarray, good: np.ndarray, u: np.ndarray, v: np.ndarray) -> Shown:
    """Keys' convolution, a = -1/2; bilinear where one of the sixteen pixels isn't there."""
    simple = _bilinear(pixels, good, u, v)
    values, whole = _summed(pixels, good, u, v, 2, _keys)
    most = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else np.inf
    values = np.clip(np.floor(values + 0.5), 0, most)
    return Shown(np.where(simple.valid & whole, values, simple.values), simple.valid)


def _keys(d: np.ndarray) -> np.ndarray:
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, far)


def _summed(
    pixels: np.ndarray,
    good: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    radius: int,
    weigh: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean of the valid pixels around places, and whether all of these are valid."""
    c, r = np.floor(u - 0.5).astype(int), np.floor(v - 0.5).astype(int)
    total, weights, whole = np.zeros(u.shape), np.zeros(u.shape), np.ones(u.shape, bool)
    for dc in range(1 - radius, radius + 1):
        for dr in range(1 - radius, radius + 1):
            one = _at(pixels, good, c + dc, r + dr)
            along, down = weigh(np.abs(u - 0.5 - c - dc)), weigh(np.abs(v - 0.5 - r - dr))
            total += along * down * np.where(one.valid, one.values, 0)
            weights += along * down * one.valid
            whole &= one.valid
    with np.errstate(invalid="ignore", divide="ignore"):
        values: np.ndarray = total / weights
    return values, whole


_METHODS = {"nearest": _nearest, "bilinear": _bilinear, "cubic": _cubic}
