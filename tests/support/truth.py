"""What a mosaic of synthetic scenes must hold, from PROJ at every pixel.

Pixels within one pixel of a scene's edge or hole are left open: there the reader's rounding
decides. Everywhere else a mosaic has data exactly where a scene has, and its values are the
truth at that place, to the part of a pixel that the resampling method allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyproj
from affine import Affine

from tests.support.scenes import Scene, ramp, slope, sphere

WORLD = {"EPSG:4326": 180.0, "EPSG:3857": 20037508.342789244, "EPSG:3832": 20037508.342789244}
"""Largest x of a map that goes round the world."""


@dataclass(frozen=True)
class Expected:
    """What is certain of a window of a mosaic."""

    lon: np.ndarray
    """(h, w) longitude of pixel centres."""
    lat: np.ndarray
    """(h, w) latitude of pixel centres."""
    filled: np.ndarray
    """(h, w) pixels that some scene holds, further than a pixel from its edges."""
    empty: np.ndarray
    """(h, w) pixels that no scene comes near."""
    edge: np.ndarray
    """(h, w) pixels within a pixel of an edge of some scene: it may lie on top there."""


def expected(
    scenes: Sequence[Scene], crs: str, transform: Affine, shape: tuple[int, int]
) -> Expected:
    """Where a window of a mosaic must have data, and where none."""
    height, width = shape
    a, _, c, _, e, f = tuple(transform)[:6]
    x, y = np.meshgrid(c + a * (np.arange(width) + 0.5), f + e * (np.arange(height) + 0.5))
    to = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    lon, lat = (np.reshape(v, shape) for v in to.transform(x.ravel(), y.ravel()))
    filled, empty, edge = np.zeros(shape, bool), np.ones(shape, bool), np.zeros(shape, bool)
    for scene in scenes:
        inside, near = _inside(scene, crs, x, y, abs(a), abs(e))
        filled |= inside
        empty &= ~near
        edge |= near & ~inside
    if crs in WORLD:  # beyond the map there is nothing, though PROJ would go round
        on_map = (np.abs(x) < WORLD[crs]) & (np.abs(y) < (90.0 if crs == "EPSG:4326" else np.inf))
        filled &= on_map
        empty &= on_map
    return Expected(lon, lat, filled, empty, edge)


def _inside(
    scene: Scene, crs: str, x: np.ndarray, y: np.ndarray, dx: float, dy: float
) -> tuple[np.ndarray, np.ndarray]:
    """(h, w) pixels well inside a scene, and pixels that are not well outside it."""
    to = pyproj.Transformer.from_crs(crs, scene.crs, always_xy=True)
    back = ~scene.transform

    def pixels(px: np.ndarray, py: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sx, sy = to.transform(px.ravel(), py.ravel())
        column = back.a * np.asarray(sx) + back.b * np.asarray(sy) + back.c
        row = back.d * np.asarray(sx) + back.e * np.asarray(sy) + back.f
        return column.reshape(px.shape), row.reshape(px.shape)

    column, row = pixels(x, y)
    # one pixel of the mosaic or of the scene, whichever is larger, in pixels of the scene;
    # measured towards the equator: beyond a pole there is no place
    dy = np.where(y > 0, -dy, dy)
    steps = [
        np.maximum(np.abs(moved[0] - column), np.abs(moved[1] - row))
        for moved in (pixels(x + dx, y), pixels(x, y + dy))
    ]
    margin = np.clip(np.maximum(*steps), 1.0, 8.0)
    height, width = scene.shape
    with np.errstate(invalid="ignore"):
        inside = (column > margin) & (column < width - margin)
        inside &= (row > margin) & (row < height - margin)
        near = (column > -margin) & (column < width + margin)
        near &= (row > -margin) & (row < height + margin)
        if scene.hole:
            start, end = (int(part * width) for part in scene.hole)
            inside &= (column < start - margin) | (column > end + margin)
            near &= (column < start + margin) | (column > end - margin)
    return inside, near


@dataclass(frozen=True)
class Verdict:
    """How a read compares with the truth."""

    pixels: int
    """Pixels that must hold data."""
    missing: int
    """Those that don't."""
    spurious: int
    """Pixels with data where no scene is near."""
    shift: float
    """Largest error, in pixels of the window or the scene (the larger)."""
    bias: float
    """Mean signed error, in such pixels."""


def verdict(
    values: np.ndarray,
    valid: np.ndarray,
    want: Expected,
    source_pixel: float,
    band: int = 0,
) -> Verdict:
    """Compares a window with the truth.

    ``source_pixel``: size of a scene's pixel in kilometres.
    """
    right = ramp(want.lon, want.lat, band)
    steep = slope(want.lon, want.lat, band)
    per_pixel = steep * np.maximum(_ground_pixel(want), source_pixel)
    clear = steep > 200.0  # where the truth is flat an error says little of a shift
    checked = want.filled & valid & clear & ~want.edge
    error = (values.astype(float) - right)[checked]
    rounding = 0.75  # the scene's own rounding and the result's
    off = np.sign(error) * np.maximum(np.abs(error) - rounding, 0) / per_pixel[checked]
    return Verdict(
        pixels=int(want.filled.sum()),
        missing=int((want.filled & ~valid).sum()),
        spurious=int((want.empty & valid).sum()),
        shift=float(np.abs(off).max()) if off.size else 0.0,
        bias=float(off.mean()) if off.size else 0.0,
    )


def _ground_pixel(want: Expected) -> np.ndarray:
    """(h, w) kilometres between neighbouring pixel centres, the longer side."""
    xyz = np.stack(sphere(want.lon, want.lat))
    across = np.sqrt((np.diff(xyz, axis=2) ** 2).sum(0))
    down = np.sqrt((np.diff(xyz, axis=1) ** 2).sum(0))
    across = np.concatenate([across, across[:, -1:]], axis=1)
    down = np.concatenate([down, down[-1:]], axis=0)
    return np.maximum(across, down)
