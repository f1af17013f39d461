"""Every raster of the shared data, read by ``mosaic.read``: on its own grid what GDAL reads of it,
value and mask, and in another CRS what PROJ puts at each pixel; or refused for a reason that
stands here. Rasters are found by what they hold: none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

import mosaic
from mosaic.errors import InputError, ReadError, UsageError
from mosaic.storage import Gate
from tests.support.exact import shown

NO_RASTERS = {".json", ".geojson", ".gz", ".parquet", ".ndjson", ".md", ".csv", ".fgb", ".zip"}
"""Kinds of documents: what GDAL might make of these is no scene."""
REASONS = [
    # files, the first pattern that fits counts; what is said
    ("*.tif.ovr", "isn't georeferenced"),
    ("*.tif.msk", "isn't georeferenced"),
    ("*/cog_gcps_ovr.tif", "ground control points only"),
    ("*/au-gcp.tif", "ground control points only"),
    ("*/RGB.byte.gcp.vrt", "ground control points only"),
    ("*/RGB.byte.rpc.vrt", "RPCs only"),
    ("*/rotated.tif", "has no CRS"),
]
DANGLING = ["*/white-gemini-iv.vrt", "*/expected.vrt", "*/MTD_MSIL2A.xml"]
"""They name files that aren't there."""
LOSSY = ["*/goes.tif"]
"""JPEG with coarser colour, of which rasterio's wheels (IJG's libjpeg 9) make other colours."""
MOST = 2_000_000
SIDE = 200


def rasters(shared: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(shared.rglob("*")):
        if path.is_file() and path.suffix not in NO_RASTERS:
            try:
                rasterio.open(path).close()
            except RasterioIOError:
                continue
            yield path.relative_to(shared).as_posix(), path


def is_one(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def compared(shared: Path, faults: Callable[[Path], list[str]]) -> tuple[int, int]:
    """How many rasters have no faults, and how many are refused, for the reasons told below.

    Fails for one with faults; what is lossy, or leads nowhere, is left out.
    """
    wrong: list[str] = []
    equal = refused = 0
    for name, path in rasters(shared):
        if is_one(name, [*DANGLING, *LOSSY]):
            continue
        try:
            found = faults(path)
        except (InputError, ReadError, UsageError):
            refused += 1
            continue
        equal += not found
        wrong += [f"{name}: {fault}" for fault in found]
    assert not wrong, "\n".join(wrong)
    return equal, refused


def part(dataset: Any) -> Window:
    """All of a raster, or a part at an odd place."""
    height, width = dataset.shape
    if height * width <= MOST:
        return Window(0, 0, width, height)
    row, column = height // 3 + 11, width // 3 + 7
    return Window(column, row, min(width - column, 601), min(height - row, 503))


def elsewhere(transform: Any, shape: tuple[int, int], crs: str) -> GeoBox:
    """A grid around the middle of a raster, in another CRS, its pixels a little finer."""
    height, width = shape
    middle = [transform @ (width / 2 + u, height / 2 + v) for u, v in ((0, 0), (1, 0), (0, 1))]
    lonlat = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    lat = lonlat.transform(*middle[0])[1]
    to = "EPSG:3857" if abs(lat) < 80 else "EPSG:3413" if lat > 0 else "EPSG:3031"
    if pyproj.CRS(crs).to_epsg() == 3857:
        to = "EPSG:4326"
    other = pyproj.Transformer.from_crs(crs, to, always_xy=True)
    (x, y), *steps = (other.transform(*place) for place in middle)
    size = min(float(np.hypot(a - x, b - y)) for a, b in steps) * 0.83
    affine = rasterio.Affine(size, 0, x - SIDE / 2 * size, 0, -size, y + SIDE / 2 * size)
    return GeoBox((SIDE, SIDE), affine, to)


def crop(path: Path, window: Window, out: Path) -> Path:
    """The part of a raster, as a file of its own."""
    with rasterio.open(path) as dataset:
        profile = {"driver": "GTiff", "crs": dataset.crs, "nodata": dataset.nodata}
        profile |= {"transform": dataset.window_transform(window), "dtype": dataset.dtypes[0]}
        pixels, mask = dataset.read(1, window=window), dataset.read_masks(1, window=window)
    height, width = pixels.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(out, "w", width=width, height=height, count=1, **profile) as made,
    ):
        made.write(pixels, 1)
        if profile["nodata"] is None:
            made.write_mask(mask)
    return out


@dataclass
class Count:
    """Pixels of warped reads."""

    all: int = 0
    wrong: int = 0


def faults(path: Path, home: Path, lossy: bool, count: Count) -> Iterator[str]:
    """What differs. Raises what building and reading raise."""
    mosaic.build(path, home / "m", overwrite=True)
    crs = mosaic.info(home / "m")["crs"]
    with rasterio.open(path) as dataset:
        window = part(dataset)
        place = dataset.window_transform(window)
        pixels, masks = dataset.read(window=window), dataset.read_masks(window=window) > 0
    box = GeoBox(pixels.shape[1:], place, crs)
    got = mosaic.read(home / "m", geobox=box, resampling="nearest", gate=Gate())
    if not np.array_equal(got.valid, masks):
        yield f"mask differs at {(got.valid != masks).sum()} of {masks.size}"
    same = np.equal(got.values, pixels) | (pixels != pixels) | ~masks
    if not lossy and not same.all():
        yield f"values differ at {(~same).sum()} of {same.size}"
    if lossy:
        return
    target = elsewhere(place, box.shape, crs)
    found = mosaic.read(home / "m", geobox=target, resampling="nearest", gate=Gate())
    source = crop(path, window, home / "crop.tif")
    want = shown([source], str(target.crs), target.affine, target.shape, "nearest")
    off = (found.values[0] != want.values) & ~(np.isnan(found.values[0]) & np.isnan(want.values))
    off = (found.valid[0] != want.valid) | (want.valid & off)
    count.all += off.size
    count.wrong += int(off.sum())
    if off.sum() > 5e-4 * off.size:
        yield f"warped, {off.sum()} of {off.size} pixels differ"


def test_every_raster(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaic.builder.make._preview", lambda *told: None)  # slow, not read
    found: list[str] = []
    equal = refused = 0
    count = Count()
    for name, path in rasters(shared):
        if is_one(name, DANGLING):
            continue
        words = next((words for pattern, words in REASONS if fnmatch(name, pattern)), "")
        try:
            lossy = is_one(name, LOSSY)
            wrong = [f"{name}: {fault}" for fault in faults(path, tmp_path, lossy, count)]
        except (InputError, ReadError) as error:
            refused += 1
            if not words or words not in str(error):
                found.append(f"{name}: {error}")
            continue
        equal += 1
        found += wrong
        if words:
            found.append(f"{name}: it was to be refused ({words})")
    assert not found, "\n".join(found)
    assert count.wrong <= 1e-4 * count.all, count
    assert (equal, refused) == (220, 11)
