"""Files, places, grids and methods drawn at random, read beside PROJ at every pixel.

``MOSAIC_RANDOM=3000`` draws so many instead of the few that are always the same.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

import mosaic
from mosaic.engine.lattice import Grid, scale
from mosaic.engine.resampling import METHODS, widening
from mosaic.storage import Gate
from tests.engine import resampled
from tests.engine.grids import exact
from tests.support.exact import EDGE

COUNT = int(os.environ.get("MOSAIC_RANDOM", "100"))
FIRST = int(os.environ.get("MOSAIC_RANDOM_FIRST", "0"))
FOOTPRINTS = {name for name, method in METHODS.items() if method.footprint}
TURNED = 15.0
"""Degrees by which pixels may lie askew for the reference of footprints to hold (GDAL's: 19)."""
SUMS = ("bilinear", "cubic", "cubic_spline", "lanczos", "average", "rms")
"""Methods whose numbers no source pixel need have."""

PLACES = {
    "zone seam": (11.9, 47.5, [32632, 32633, 3035, 3857, 4326]),
    "180 degrees, north": (179.95, 62.0, [32660, 32601, 3857, 4326, 3413]),
    "180 degrees, south": (-179.97, -17.0, [32760, 32701, 3857, 4326, 3832]),
    "Greenland": (-40.0, 70.0, [32624, 3413, 4326, 3857]),
    "Antarctica": (-178.0, -77.0, [32701, 3031, 4326]),
    "near the pole": (30.0, 88.5, [3413, 32661, 3995]),
    "equator": (9.0, 0.0, [32632, 32732, 3857, 4326]),
}
COMPRESSIONS = ("none", "deflate", "lzw", "zstd", "packbits", "lerc")
DTYPES = "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64".split()


@dataclass(frozen=True)
class Case:
    """One file and one way to read it."""

    profile: dict[str, Any]
    """What rasterio writes it with."""
    hidden: str
    """How pixels are missing: none, nodata, nan, mask or alpha."""
    overviews: tuple[int, ...]
    """Factors."""
    averaged: bool
    """Whether overviews are averages, else nearest."""
    classes: bool
    """Whether there are few numbers, each many times."""
    box: GeoBox
    """What is read."""
    method: str
    """How."""


def drawn(seed: int) -> Case:
    rng = np.random.default_rng(seed)

    def one(options: Any) -> Any:
        options = list(options)
        return options[int(rng.integers(len(options)))]

    lon, lat, codes = PLACES[one(PLACES)]
    source, target = f"EPSG:{one(codes)}", f"EPSG:{one(codes)}"
    dtype, method = one(DTYPES), one(METHODS)
    hidden = one(["none", "nodata", "nodata", "mask", "alpha"])
    if dtype[0] == "f" and hidden == "nodata":
        hidden = one(["nodata", "nan"])
    if hidden == "alpha" and dtype not in ("uint8", "uint16"):
        hidden = "mask"
    count = int(rng.integers(1, 4)) + (hidden == "alpha")
    metres = 10.0 * 2 ** rng.uniform(0, 3)
    compress = one(COMPRESSIONS)
    if compress == "lerc" and dtype.endswith("64") and dtype[0] != "f":
        compress = "zstd"
    predictor = 1
    if compress in ("deflate", "lzw", "zstd"):
        predictor = one([1, 2, 3] if dtype[0] == "f" else [1, 2])
    side = 16 * int(rng.integers(1, 9))
    shape = int(rng.integers(40, 300)), int(rng.integers(40, 300))
    skew = rng.uniform(-25, 25) if rng.random() < 0.2 else 0.0
    layout = {"tiled": True, "blockxsize": side, "blockysize": one([16, 32, 64])}
    profile = {
        "driver": "GTiff", "count": count, "dtype": dtype,
        "height": shape[0], "width": shape[1], "crs": source,
        "transform": _around(source, lon, lat, shape, metres, skew),
        "nodata": {"nodata": 0, "nan": float("nan")}.get(hidden),
        "compress": compress, "interleave": one(["band", "pixel"]),
        **({"predictor": predictor} if predictor > 1 else {}),
        **(layout if rng.random() < 0.6 else {"blockysize": int(rng.integers(1, 60))}),
        **({"BIGTIFF": "YES"} if rng.random() < 0.2 else {}),
        **({"ENDIANNESS": "BIG"} if rng.random() < 0.2 and compress != "lerc" else {}),
        **({"alpha": "YES"} if hidden == "alpha" else {}),
    }  # fmt: skip
    overviews = one([(), (), (2,), (2, 4)])
    if profile["compress"] == "none":  # GDAL 3.10 hangs where it makes some of these
        overviews = ()
    factor = 2 ** rng.uniform(-1.5, 2.6)
    size = int(rng.integers(15, 60)), int(rng.integers(15, 60))
    off = rng.uniform(-0.6, 0.6, 2) * shape * metres / 111_000
    east = lon + off[1] / max(np.cos(np.radians(lat)), 0.05)
    turned = rng.uniform(-40, 40) if rng.random() < 0.15 else 0.0
    place = _around(target, east, lat + off[0], size, metres * factor, turned)
    box = GeoBox(size, place, target)
    return Case(profile, hidden, overviews, bool(rng.integers(2)), method == "mode", box, method)


def _around(
    crs: str, lon: float, lat: float, shape: tuple[int, int], metres: float, turned: float
) -> Affine:
    """A raster with its middle at a place; pixels of degrees are as long in latitude."""
    here = rasterio.warp.transform("EPSG:4326", crs, [lon], [min(lat, 89.9)])
    size = metres / 111_000 if crs == "EPSG:4326" else metres
    height, width = shape
    return (
        Affine.translation(here[0][0], here[1][0])
        @ Affine.rotation(turned)
        @ Affine.scale(size, -size)
        @ Affine.translation(-width / 2, -height / 2)
    )


def write(path: Path, case: Case, seed: int) -> None:
    profile, hidden = case.profile, case.hidden
    shape = profile["height"], profile["width"]
    holes = resampled.scene(shape, "uint8", seed=seed) == 0
    bands = []
    for band in range(profile["count"]):
        values = resampled.scene(shape, profile["dtype"], seed=seed + band, holes=False)
        if case.classes:
            values = np.maximum(values // (20 if values.max() < 300 else 900), 1)
        bands.append(values.astype(profile["dtype"]))
    values = np.stack(bands)
    if hidden in ("nodata", "nan"):
        values[:, holes] = profile["nodata"]
    if hidden == "alpha":
        values[-1] = np.where(holes, 0, 255 if profile["dtype"] == "uint8" else 65535)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile) as out,
    ):
        out.write(values)
        if hidden == "mask":
            out.write_mask(~holes)
    if case.overviews:
        with rasterio.open(path, "r+") as out:
            how = Resampling.average if case.averaged else Resampling.nearest
            out.build_overviews(list(case.overviews), how)


def _turned(column: np.ndarray, row: np.ndarray) -> float:
    """Degrees by which target pixels lie askew in the source, at most."""
    with np.errstate(invalid="ignore"):
        along = np.abs(np.diff(row, axis=1)), np.abs(np.diff(column, axis=1))
        down = np.abs(np.diff(column, axis=0)), np.abs(np.diff(row, axis=0))
        angles = [np.degrees(np.arctan2(*pair)) for pair in (along, down)]
    return max(float(np.nanmax(angle, initial=0)) for angle in angles)


@dataclass
class Count:
    """What was compared."""

    pixels: int = 0
    """Pixels that either shows."""
    torn: int = 0
    """Pixels that only one of them shows."""
    off: int = 0
    """Pixels that both show, as other numbers (filters: further apart than one)."""


def compared(path: Path, case: Case) -> Count:
    """What ``mosaic.read`` shows beside what PROJ and plain sums make of rasterio's pixels."""
    told = {"geobox": case.box, "resampling": case.method}
    gate = Gate()
    got = mosaic.read(path, **told, gate=gate)
    rows = mosaic.plan(path, **told, gate=gate).rows
    assert got.covered.all()
    assert got.values.dtype == case.profile["dtype"]
    if not rows:
        assert not got.valid.any()
        return Count()
    level = rows[0].level
    options = {"OVERVIEW_LEVEL": level - 1} if level else {}
    with rasterio.open(path, **options) as dataset:
        pixels = dataset.read()
        masks = np.stack([dataset.read_masks(b + 1) > 0 for b in range(dataset.count)])
    if case.hidden == "nan":
        masks = ~np.isnan(pixels)
    full = case.profile["height"], case.profile["width"]
    shape = pixels.shape[1:]
    per = Affine.scale(full[1] / shape[1], full[0] / shape[0])
    own = Grid(case.profile["crs"], full, tuple(case.profile["transform"])[:6])
    source = Grid(own.crs, shape, tuple(case.profile["transform"] @ per)[:6])
    height, width = case.box.shape
    target = Grid(str(case.box.crs), (height, width), tuple(case.box.affine)[:6])
    down, across = scale(target, own)
    wide = widening(METHODS[case.method], (down * shape[0] / full[0], across * shape[1] / full[1]))
    corners = case.method in FOOTPRINTS
    asked = target
    if corners:
        asked = Grid(target.crs, (target.shape[0] + 1, target.shape[1] + 1), target.transform)
    column, row = exact(asked, source, corners=corners)
    if corners and _turned(column, row) > TURNED:
        return Count()
    found = Count()
    for band, (values, good) in enumerate(zip(pixels, masks, strict=True)):
        if case.method == "nearest":
            want, right = resampled.nearest(values, good, column + EDGE, row + EDGE)
        elif corners:
            want, right = resampled.footprint(case.method, values, good, column, row)
        else:
            safe = np.where(good, values, 0)
            want, right = resampled.filtered(
                case.method, safe, good, column + EDGE, row + EDGE, wide
            )
        valid = got.valid[band]
        both = valid & right
        exactly = case.method not in SUMS
        if not exactly:
            want = resampled.rounded(want, values.dtype)
        a, b = got.values[band][both], want[both]
        off = np.abs(a.astype(float) - b.astype(float))
        most = 0.0 if exactly else 1.0
        found.pixels += int((valid | right).sum())
        found.torn += int((valid != right).sum())
        found.off += int((off > most).sum())
    return found


def test_random_reads(tmp_path: Path) -> None:
    totals: defaultdict[str, Count] = defaultdict(Count)
    for seed in range(FIRST, FIRST + COUNT):
        case = drawn(seed)
        path = tmp_path / "a.tif"
        write(path, case, seed)
        found = compared(path, case)
        here = totals[case.method]
        for name in ("pixels", "torn", "off"):
            setattr(here, name, getattr(here, name) + getattr(found, name))
        assert found.torn + found.off <= max(2, 0.01 * found.pixels), (seed, case, found)
        path.unlink()
    for name, one in sorted(totals.items()):
        print(f"{name:12} {one.pixels:9} pixels, {one.torn} torn, {one.off} off")
    pixels = sum(one.pixels for one in totals.values())
    assert pixels > 500 * COUNT
    assert sum(one.torn for one in totals.values()) <= 1e-4 * pixels
    assert sum(one.off for one in totals.values()) <= 1e-3 * pixels
    assert totals["nearest"].off <= 1e-4 * totals["nearest"].pixels
