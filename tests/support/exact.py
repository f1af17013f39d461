"""What a mosaic must show, by PROJ at every pixel and rasterio for the files: no lattice, no GDAL
warper, nothing of the package."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Files on each other, the first on top. ``method``: nearest or bilinear."""
    height, width = shape
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = transform @ (column.ravel(), row.ravel())
    values, valid = np.zeros(shape), np.zeros(shape, bool)
    for path in files:
        with rasterio.open(path) as dataset:
            pixels = dataset.read(band)
            own, back, nodata = dataset.crs.to_wkt(), ~dataset.transform, dataset.nodata
        to = pyproj.Transformer.from_crs(crs, own, always_xy=True)
        sx, sy = (np.asarray(part) for part in to.transform(x, y))
        with np.errstate(invalid="ignore"):
            u, v = (part.reshape(shape) for part in back @ (sx, sy))
            u, v = np.nan_to_num(u, nan=-1e9), np.nan_to_num(v, nan=-1e9)
            u, v = np.clip(u, -1e9, 1e9), np.clip(v, -1e9, 1e9)
        found = (_nearest if method == "nearest" else _bilinear)(pixels, u, v, nodata)
        new = found.valid & ~valid
        values[new] = found.values[new]
        valid |= new
    return Shown(values, valid)


def _at(pixels: np.ndarray, c: np.ndarray, r: np.ndarray, nodata: float | None) -> Shown:
    height, width = pixels.shape
    inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
    values = pixels[np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)]
    return Shown(values.astype(float), inside if nodata is None else inside & (values != nodata))


def _nearest(pixels: np.ndarray, u: np.ndarray, v: np.ndarray, nodata: float | None) -> Shown:
    return _at(pixels, np.floor(u + EDGE).astype(int), np.floor(v + EDGE).astype(int), nodata)


def _bilinear(pixels: np.ndarray, u: np.ndarray, v: np.ndarray, nodata: float | None) -> Shown:
    near = _nearest(pixels, u, v, nodata)
    c, r = np.floor(u - 0.5), np.floor(v - 0.5)
    t, s = u - 0.5 - c, v - 0.5 - r
    total, weights = np.zeros(u.shape), np.zeros(u.shape)
    for dc in (0, 1):
        for dr in (0, 1):
            one = _at(pixels, c.astype(int) + dc, r.astype(int) + dr, nodata)
            weight = (t if dc else 1 - t) * (s if dr else 1 - s) * one.valid
            total += weight * one.values
            weights += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.floor(total / weights + 0.5)
    return Shown(np.where(near.valid, values, 0), near.valid)
