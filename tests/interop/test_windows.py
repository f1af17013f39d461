"""Small windows of mosaics of overlapping scenes, in each GDAL: what a whole read has there.

GDAL 3.10 answers a window that begins between a tile and the end of its footprint with zeros,
and says nothing. Each scene is of one value, so that a scene that is missing shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine

import mosaic
from tests.interop.roots import Root
from tests.support.scenes import Scene, write_scene

pytestmark = pytest.mark.interop

JOB = Path(__file__).with_name("windows_job.py")
LEFT = (488460, 495240, 502020, 508800, 515580)
TOP = (5272260, 5275560, 5272260, 5275620, 5272320)
RES = 60.0
SIZE = 384


def scenes(odd: bool = False) -> list[Scene]:
    """Five scenes that overlap; ``odd``: off the lattice, every other one of finer pixels."""
    found = []
    for n, (left, top) in enumerate(zip(LEFT, TOP, strict=True)):
        res = 25.0 if odd and n % 2 else RES
        shift = 17.3 * n if odd else 0.0
        affine = Affine(res, 0, left + shift, 0, -res, top - shift)
        found.append(Scene(f"s{n}", "EPSG:32632", affine, (SIZE, SIZE)))
    return found


@dataclass(frozen=True)
class Case:
    """A mosaic to read in windows."""

    crs: str
    """Its CRS."""
    res: float | None = None
    """Its pixel, or None for the scenes'."""
    odd: bool = False
    """Whether scenes lie off its lattice."""

    def __str__(self) -> str:
        return f"{self.crs[5:]}-{self.res or 'own'}{'-odd' * self.odd}"


CASES = (
    Case("EPSG:32632"),
    Case("EPSG:32632", RES, odd=True),
    Case("EPSG:32633"),
    Case("EPSG:4326"),
    Case("EPSG:3857"),
    Case("EPSG:3035", 100.0),
)
COUNT = 200
"""Windows a mosaic; half of them begin or end at a scene's edge."""


def windows(case: Case, transform: Affine, shape: tuple[int, int]) -> list[list[int]]:
    """Windows of 5 to 120 pixels, at random and along the edges of scenes, most at their ends."""
    rng = np.random.default_rng(5)
    to = pyproj.Transformer.from_crs("EPSG:32632", case.crs, always_xy=True)
    edges = []
    for scene in scenes(case.odd):
        side = np.linspace(0, SIZE, 41)
        u = np.concatenate([side, side * 0 + SIZE, side, side * 0])
        v = np.concatenate([side * 0, side, side * 0 + SIZE, side])
        xy = np.column_stack(to.transform(*(scene.transform @ (u, v))))
        column, row = ~transform @ (xy[:, 0], xy[:, 1])
        points = np.column_stack([column, row])
        ends = np.concatenate([points.argmin(axis=0), points.argmax(axis=0)])
        edges += [points, np.repeat(points[ends], 40, axis=0)]
    near = np.rint(np.concatenate(edges)).astype(int)
    height, width = shape
    found: list[list[int]] = []
    while len(found) < COUNT:
        w, h = (int(value) for value in rng.integers(5, 121, 2))
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        if len(found) % 2:
            x, y = (int(v) for v in near[rng.integers(len(near))] + rng.integers(-3, 4, 2))
            x, y = x - w * int(rng.integers(2)), y - h * int(rng.integers(2))
        if 0 <= x <= width - w and 0 <= y <= height - h:
            found.append([x, y, w, h])
    return found


@pytest.fixture(scope="session")
def jobs(folder: Path) -> list[dict[str, object]]:
    """The mosaics, built once, and their windows."""
    found = []
    for case in CASES:
        home = folder / f"windows-{'odd' if case.odd else 'even'}"
        home.mkdir(exist_ok=True)
        items = [
            write_scene(home, scene, lambda lon, lat, band, n=n: np.full(lon.shape, 1000.0 * n))
            for n, scene in enumerate(scenes(case.odd), 1)
        ]
        (home / "items.json").write_text(
            json.dumps({"type": "FeatureCollection", "features": items})
        )
        out = folder / f"windows-{case}"
        mosaic.build(home / "items.json", out, dst_crs=case.crs, res=case.res)
        index = out / "B04.gti.gpkg"
        with rasterio.open(index) as dataset:
            asked = windows(case, dataset.transform, dataset.shape)
        found.append({"index": str(index), "windows": asked})
    return found


def test_windows_show_what_the_whole_shows(
    gdal: Root, jobs: list[dict[str, object]], folder: Path
) -> None:
    job = folder / "windows.json"
    job.write_text(json.dumps(jobs))
    said = gdal.run(["python3", JOB, job], binds=[folder, JOB.parent], timeout=120).stdout
    for case, found in zip(CASES, json.loads(said), strict=True):
        assert found["filled"] > 50_000, case
        assert found["wrong"] == [], (case, len(found["wrong"]))
