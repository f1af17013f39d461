"""What would be wrong without a word: each was found once, and mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import mosaic
from mosaic.catalog.href import resolve
from mosaic.errors import UsageError


def raster(path: Path, value: int, left: float, dtype: str = "uint16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "width": 50, "height": 50, "count": 1, "dtype": dtype}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32632", transform=Affine(10, 0, left, 0, -10, 5_000_000)
    ) as dataset:
        dataset.write(np.full((50, 50), value, dtype), 1)
    return path


def test_ids_that_share_a_file_name_keep_their_vrts(tmp_path: Path) -> None:
    out = tmp_path / "m"
    raster(out / "in" / "x 1.tif", 11, 500_000)
    raster(out / "in" / "x_1.tif", 22, 500_500)
    mosaic.build(out / "in", out, nodata=0)
    with rasterio.open(out / "data.gti.gpkg") as dataset:
        values = dataset.read(1)
    assert sorted(np.unique(values, return_counts=True)[1][-2:]) == [2500, 2500]
    assert {11, 22} <= set(np.unique(values))


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_a_grid_from_0_to_360_degrees_is_whole(crs: str, tmp_path: Path) -> None:
    values = (np.arange(180 * 360).reshape(180, 360) % 30000 + 1).astype("int16")
    path = tmp_path / "world.tif"
    profile = {"driver": "GTiff", "width": 360, "height": 180, "count": 1, "dtype": "int16"}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:4326", transform=Affine(1, 0, 0, 0, -1, 90), nodata=0
    ) as dataset:
        dataset.write(values, 1)
    mosaic.build(path, tmp_path / "m", dst_crs=crs)
    with rasterio.open(tmp_path / "m" / "data.gti.gpkg") as dataset:
        found = dataset.read(1)
        column = int(-dataset.transform.c / dataset.transform.a)
    if crs == "EPSG:4326":
        np.testing.assert_array_equal(found[:180, :360], np.roll(values, 180, axis=1))
    assert (found[:, : 2 * column] != 0).mean() > 0.99


def test_nodata_that_pixels_cannot_hold(tmp_path: Path) -> None:
    one = raster(tmp_path / "a.tif", 7, 500_000, "uint8")
    other = raster(tmp_path / "b.tif", 9, 502_000, "uint8")
    with pytest.raises(UsageError, match=r"--nodata -9999: uint8 pixels of data can't hold it"):
        mosaic.build([one, other], tmp_path / "m", nodata=-9999)
    mosaic.build([one, other], tmp_path / "m")
    with rasterio.open(tmp_path / "m" / "data.gti.gpkg") as dataset:
        assert dataset.nodata is None
        masked = dataset.dataset_mask() == 0
        assert (masked == (dataset.read(1) == 0)).all()
        assert masked.any()


def test_folders_keep_their_modes(tmp_path: Path) -> None:
    out = tmp_path / "m"
    source = raster(out / "private" / "a.tif", 7, 500_000)
    (out / "private").chmod(0o700)
    out.chmod(0o750)
    mosaic.build(source, out)
    assert (out / "private").stat().st_mode & 0o777 == 0o700
    assert out.stat().st_mode & 0o777 == 0o750
    assert source.exists()


@pytest.mark.parametrize(
    "href",
    [
        "/vsicurl/https://h/x.tif?sig=SECRET",
        "/vsicurl?max_retry=5&url=https%3A%2F%2Fh%2Fx.tif%3Fsig%3DSECRET",
        "https://user:SECRET@h/x.tif",
    ],
)
def test_signatures_inside_gdal_names_are_cut_off(href: str) -> None:
    assert resolve(href, "/") == "https://h/x.tif"
