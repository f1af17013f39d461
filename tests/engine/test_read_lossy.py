"""JPEG and WebP in warped reads, against PROJ at every pixel and another decoder's pixels.

Decoders of one standard may differ by one; what is warped here lies within that everywhere.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.enums import Resampling

import mosaic
from mosaic.storage import Gate
from tests.engine.grids import around
from tests.support.exact import shown

SIZE = 200
RES = 30.0

KINDS: dict[str, dict[str, Any]] = {
    "grey JPEG": {"compress": "jpeg", "count": 1},
    "RGB JPEG": {"compress": "jpeg", "count": 3, "photometric": "RGB"},
    "JPEG 4:2:0": {"compress": "jpeg", "count": 3, "photometric": "YCBCR"},
    "JPEG 4:2:0 with a mask": {"compress": "jpeg", "count": 3, "photometric": "YCBCR"},
    "grey JPEG, nodata": {"compress": "jpeg", "count": 1, "nodata": 0},
    "WebP": {"compress": "webp", "count": 3, "webp_level": 75},
    "WebP with alpha": {"compress": "webp", "count": 4, "webp_level": 75, "alpha": "YES"},
}
PLACES = {
    "EPSG:32633": (32632, 12.0, 47.5),
    "EPSG:32632": (32633, 12.0, 47.5),
    "EPSG:3857": (32632, 11.0, 47.5),
    "EPSG:3035": (32632, 11.0, 47.5),
    "EPSG:4326": (32632, 9.5, 47.5),
    "EPSG:3413": (32624, -40.0, 70.0),
    "EPSG:3031": (32701, -178.0, -77.0),
    "EPSG:4326 across 180": (32601, -180.0, 65.0),
}
"""Targets, and a zone and a place of a scene in them."""


def write(path: Path, kind: str, zone: int, lon: float, lat: float) -> None:
    """A scene of waves and noise, with a hole where its kind has one."""
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "dtype": "uint8"} | KINDS[kind]
    place = around(f"EPSG:{zone}", lon, lat, SIZE, RES)
    rng = np.random.default_rng(len(kind))
    row, column = np.mgrid[:SIZE, :SIZE]
    values = np.stack(
        [
            128 + 70 * np.sin(column / 9 + band) * np.cos(row / 7) + rng.normal(0, 9, row.shape)
            for band in range(options["count"])
        ]
    )
    values = np.clip(values, 1, 255).astype("uint8")
    hole = np.zeros((SIZE, SIZE), bool)
    hole[40:100, 70:141] = True
    if kind.endswith("alpha"):
        values[3] = np.where(hole, 0, 255)
    if kind.endswith("nodata"):
        hole[64:128, 64:128] = True  # whole blocks: a lossy block isn't 0 beside its edge
        values[0, hole] = 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=SIZE, height=SIZE,
            crs=place.crs, transform=Affine(*place.transform), **options,
        ) as out,
    ):  # fmt: skip
        out.write(values)
        if kind.endswith("mask"):
            out.write_mask(~hole)
    with rasterio.open(path, "r+") as out:
        out.build_overviews([2], Resampling.nearest)


def decoded(path: Path, plain: Path) -> None:
    """The same raster without loss: coarser colour by Pillow's libjpeg-turbo, else by GDAL."""
    with rasterio.open(path) as dataset:
        values, masks, profile = dataset.read(), dataset.read_masks(), dataset.profile
        chroma = profile.get("photometric") == "ycbcr"
        inner = dataset.mask_flag_enums[0]
    if chroma:  # rasterio's wheels bring IJG's libjpeg, which makes other colours
        values = _by_pillow(path)
    kept = {k: profile[k] for k in ("width", "height", "count", "dtype", "crs", "transform")}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            plain, "w", driver="GTiff", nodata=profile["nodata"], **kept,
            **({"alpha": "YES"} if profile["count"] == 4 else {}),
        ) as out,
    ):  # fmt: skip
        out.write(values)
        if rasterio.enums.MaskFlags.per_dataset in inner and profile["count"] == 3:
            out.write_mask(masks[0])


def _by_pillow(path: Path) -> np.ndarray:
    found = np.zeros((SIZE, SIZE, 3), "uint8")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        wide = -(-SIZE // 64)
        for number, (start, length) in enumerate(
            zip(page.dataoffsets, page.databytecounts, strict=True)
        ):
            tiff.filehandle.seek(start)
            raw = tiff.filehandle.read(length)
            block = Image.open(io.BytesIO(page.jpegtables[:-2] + raw[2:])).convert("RGB")
            row, column = 64 * (number // wide), 64 * (number % wide)
            here = found[row : row + 64, column : column + 64]
            here[:] = np.asarray(block)[: here.shape[0], : here.shape[1]]
    return np.moveaxis(found, 2, 0)


@pytest.mark.parametrize("target", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_lossy_pixels_are_where_proj_puts_them(kind: str, target: str, tmp_path: Path) -> None:
    zone, lon, lat = PLACES[target]
    path, plain = tmp_path / "a.tif", tmp_path / "plain.tif"
    write(path, kind, zone, lon, lat)
    decoded(path, plain)
    crs = target.split()[0]
    size = RES / 75_000 if crs == "EPSG:4326" else RES
    wanted = around(crs, lon, lat, 210, size)
    box = GeoBox(wanted.shape, Affine(*wanted.transform), crs)
    for method, share in (("nearest", 0.9999), ("bilinear", 0.999), ("cubic", 0.999)):
        got = mosaic.read(path, geobox=box, resampling=method, gate=Gate())
        for band in range(1 if method == "cubic" else min(3, KINDS[kind]["count"])):
            want = shown([plain], crs, box.affine, box.shape, method, band + 1)
            assert want.valid.sum() > 15_000
            if kind.endswith(("mask", "alpha", "nodata")):
                assert not want.valid.all()
            assert (got.valid[band] == want.valid).mean() >= 0.9999
            both = got.valid[band] & want.valid
            off = np.abs(got.values[band].astype(int) - want.values)[both]
            assert (off <= 1).mean() >= share, (method, band, off.max())
