"""The mosaics that every reader must read right: seams, 180 degrees, poles, in many CRSs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
from affine import Affine

import mosaic
from tests.support.scenes import Scene, seam_scenes, utm_scene, write_scenes
from tests.support.truth import expected, verdict

RES = 60.0
SIZE = 256

LIMIT = {"nearest": 0.89, "bilinear": 0.3, "cubic": 0.3}
"""Pixels that a value may be off: half a pixel's diagonal for nearest (0.71), and what GDAL's
approximate transformer adds (an eighth of a pixel in x and y, 0.18; measured up to 0.27)."""


@dataclass(frozen=True)
class Case:
    """A mosaic to build and read."""

    name: str
    """Name of the set of scenes."""
    scenes: tuple[Scene, ...]
    """Its scenes."""
    crs: str
    """CRS of the mosaic."""

    def __str__(self) -> str:
        return f"{self.name}-{self.crs.replace(':', '')}"


def _antimeridian(lat: float, zones: tuple[int, int]) -> tuple[Scene, ...]:
    """Two zones on either side of 180 degrees; one scene of each crosses it."""
    west, east = zones
    reach = SIZE * RES / 2 / 111_320 / np.cos(np.radians(lat))
    return (
        utm_scene("west", west, 180 - reach * 1.2, lat, SIZE, RES),
        utm_scene("across_w", west, 180 - reach * 0.3, lat + 0.06, SIZE, RES),
        utm_scene("across_e", east, -180 + reach * 0.4, lat - 0.05, SIZE, RES),
        utm_scene("east", east, -180 + reach * 1.3, lat, SIZE, RES),
    )


def _polar(name: str, crs: str, res: float = 200.0) -> Scene:
    """A scene with the pole inside, off its middle."""
    left, top = -0.4 * SIZE * res, 0.55 * SIZE * res
    if crs in ("EPSG:32661", "EPSG:32761"):
        left, top = left + 2_000_000, top + 2_000_000
    return Scene(name, crs, Affine(res, 0, left, 0, -res, top), (SIZE, SIZE))


SEAM = tuple(seam_scenes(SIZE, RES, ("B04",), dates=2))
NORTH = _antimeridian(52.0, (32660, 32601))
SOUTH = _antimeridian(-17.0, (32760, 32701))
HIGH = (
    utm_scene("z60", 32660, 179.0, 82.9, SIZE, RES),
    utm_scene("z01", 32601, -179.2, 82.95, SIZE, RES),
    utm_scene("z60b", 32660, 179.8, 83.0, SIZE, RES),
)
ARCTIC = (_polar("np", "EPSG:3413"), utm_scene("z33", 32633, 15.0, 88.9, SIZE, 200.0))
ANTARCTIC = (_polar("sp", "EPSG:3031"), _polar("ups", "EPSG:32761"))

CASES = (
    *(
        Case("seam", SEAM, crs)
        for crs in ("EPSG:32632", "EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:3035")
    ),
    *(
        Case("north180", NORTH, crs)
        for crs in ("EPSG:32660", "EPSG:4326", "EPSG:3857", "EPSG:3832", "EPSG:3413")
    ),
    *(Case("south180", SOUTH, crs) for crs in ("EPSG:32760", "EPSG:4326", "EPSG:3857")),
    *(Case("utm1-60", HIGH, crs) for crs in ("EPSG:3413", "EPSG:4326", "EPSG:32660")),
    *(Case("arctic", ARCTIC, crs) for crs in ("EPSG:3413", "EPSG:4326", "EPSG:32661")),
    *(Case("antarctic", ANTARCTIC, crs) for crs in ("EPSG:3031", "EPSG:4326")),
)


@dataclass(frozen=True)
class Built:
    """A mosaic that was built, and the windows of it that hold scenes."""

    case: Case
    """What was built."""
    resampling: str
    """How."""
    index: Path
    """The ``.gti.gpkg``."""
    crs: str
    """CRS of the mosaic."""
    transform: Affine
    """Of the mosaic."""
    shape: tuple[int, int]
    """Of the mosaic."""
    windows: tuple[tuple[int, int, int, int], ...]
    """(column, row, width, height) of the parts with scenes."""

    def window_transform(self, window: tuple[int, int, int, int], factor: int = 1) -> Affine:
        """Affine of a window, or of an overview of it."""
        here: Affine = self.transform @ Affine.translation(window[0], window[1])
        return here @ Affine.scale(factor)

    @property
    def source_pixel(self) -> float:
        """Size of a scene's pixel in kilometres."""
        return float(max(scene.transform.a for scene in self.case.scenes)) / 1000


def write_case(folder: Path, scenes: Sequence[Scene]) -> Path:
    """Writes scenes once; returns their items."""
    path = folder / "items.json"
    return path if path.exists() else write_scenes(folder, scenes)


def build(case: Case, items: Path, out: Path, resampling: str) -> Built:
    """Builds a case."""
    mosaic.build(items, out, dst_crs=case.crs, resampling=resampling)
    found = mosaic.info(out)
    west, _, _, north = found["bounds"]
    transform = Affine(found["resolution"][0], 0, west, 0, -found["resolution"][1], north)
    shape = (found["shape"][0], found["shape"][1])
    return Built(
        case,
        resampling,
        out / found["indexes"][0],
        case.crs,
        transform,
        shape,
        _windows(case, transform, shape),
    )


def check_every_pixel(
    built: Built, read: Callable[[tuple[int, int, int, int]], np.ndarray]
) -> None:
    """Reads a mosaic's windows and holds each against the truth.

    ``read``: (column, row, width, height) to the pixels of that window.
    """
    case, total = built.case, 0
    for window in built.windows:
        values = read(window)
        want = expected(
            case.scenes, case.crs, built.window_transform(window), (window[3], window[2])
        )
        found = verdict(values, values != 0, want, built.source_pixel)
        total += found.pixels
        assert found.missing == 0, (window, found)
        assert found.spurious == 0, (window, found)
        assert found.shift <= LIMIT[built.resampling], (window, found)
    assert total > 50_000


def _windows(
    case: Case, transform: Affine, shape: tuple[int, int]
) -> tuple[tuple[int, int, int, int], ...]:
    """Windows of at most 1400 pixels a side that together touch every scene, off the middle too."""
    height, width = shape
    if max(shape) <= 1400:
        return ((0, 0, width, height),)
    windows = set()
    for scene in case.scenes:
        to = pyproj.Transformer.from_crs(scene.crs, case.crs, always_xy=True)
        rows, cols = scene.shape
        for u, v in ((0.02, 0.02), (0.98, 0.02), (0.5, 0.5), (0.02, 0.98), (0.98, 0.98)):
            a, _, c, _, e, f = tuple(scene.transform)[:6]
            x, y = to.transform(c + a * cols * u, f + e * rows * v)
            column, row = ~transform @ (x, y)
            # a coarse lattice of windows, so that neighbours fall into one
            size = 640
            left = int(np.clip(column // size * size, 0, max(0, width - size)))
            top = int(np.clip(row // size * size, 0, max(0, height - size)))
            windows.add((left, top, min(size, width), min(size, height)))
    return tuple(sorted(windows))


def check_overview(built: Built, factor: int, values: np.ndarray) -> None:
    """Fails unless the whole mosaic, read at a coarser size, lies where it should."""
    transform = built.transform @ Affine.scale(factor)
    want = expected(built.case.scenes, built.crs, transform, values.shape)
    found = verdict(values, values != 0, want, built.source_pixel)
    assert found.missing == 0, found
    assert abs(found.bias) <= 0.02, found
    assert found.shift <= 0.35, found
