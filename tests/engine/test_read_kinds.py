"""Files of many kinds: what ``mosaic.read`` shows of them is what rasterio reads of the file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

import mosaic
from mosaic.errors import ReadError, UsageError
from mosaic.storage import Gate
from tests.support.range_server import RangeServer

SIZE = 300
KINDS: dict[str, dict[str, Any]] = {
    "tiled": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "zstd"},
    "strips": {"tiled": False, "compress": "lzw", "predictor": 2},
    "planar": {"count": 3, "interleave": "band", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "pixel": {"count": 3, "interleave": "pixel", "compress": "deflate"},
    "floats": {"dtype": "float32", "nodata": float("nan"), "predictor": 3, "compress": "deflate"},
    "signed": {"dtype": "int16", "nodata": -9999},
    "no-nodata": {"nodata": None},
    "big": {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    "sparse": {"SPARSE_OK": True, "tiled": True, "blockxsize": 64, "blockysize": 64},
    "mask": {"nodata": None, "dtype": "uint8"},
    "alpha": {"count": 4, "dtype": "uint8", "nodata": None, "photometric": "RGB", "alpha": "YES"},
    "palette": {"dtype": "uint8", "nodata": None, "photometric": "palette"},
    "doubles": {"dtype": "float64", "nodata": -1.5},
}


def write(path: Path, kind: str) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": SIZE,
        "height": SIZE - 40,
        "count": 1,
        "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32632",
        "transform": Affine(30, 0, 500_010, 0, -30, 5_200_020),
        **KINDS[kind],
    }
    rng = np.random.default_rng(len(kind))
    shape = (profile["count"], profile["height"], profile["width"])
    values = (rng.random(shape) * 250 + 1).astype(profile["dtype"])
    gone = np.zeros(shape[1:], bool)
    gone[100:200, 64:192] = True
    gone[:, 290:] = True
    if profile["nodata"] is not None:
        values[:, gone] = profile["nodata"]
    if kind == "alpha":
        values[3] = np.where(gone, 0, 255)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as out:
        if kind == "sparse":  # only a corner is written
            out.write(values[:, :64, :64], window=((0, 64), (0, 64)))
        else:
            out.write(values)
        if kind == "mask":
            out.write_mask(~gone)
        if kind == "palette":
            out.write_colormap(1, {n: (n, 255 - n, 7, 255) for n in range(256)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_shown_as_it_is(kind: str, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", kind)
    mosaic.build(tmp_path / "a.tif", tmp_path / "m", dst_crs="EPSG:32632")
    with rasterio.open(tmp_path / "a.tif") as dataset:
        pixels, masks = dataset.read(), dataset.read_masks() > 0
        transform, nodata = dataset.transform, dataset.nodata
    got = mosaic.read(tmp_path / "m", gate=Gate())
    column, row = ~got.geobox.affine @ (transform.c, transform.f)
    here = np.s_[:, round(row) : round(row) + SIZE - 40, round(column) : round(column) + SIZE]
    if nodata == nodata or nodata is None:
        np.testing.assert_array_equal(got.valid[here], masks)
    else:
        np.testing.assert_array_equal(got.valid[here], ~np.isnan(pixels))
    assert got.values.dtype == pixels.dtype
    shown = got.valid[here]
    np.testing.assert_array_equal(got.values[here][shown], pixels[shown])
    assert got.valid.sum() == shown.sum() > 0
    # and on another grid, the same numbers
    other = mosaic.read(tmp_path / "m", crs="EPSG:3035", resolution=30, gate=Gate())
    assert 0.9 < other.valid.sum() / got.valid.sum() < 1.1
    assert set(np.unique(other.values[other.valid])) <= set(np.unique(pixels[masks]))


@pytest.mark.parametrize("blocks", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64}])
@pytest.mark.parametrize("coarse", [1, 2])
def test_masks_beside_a_file(coarse: int, blocks: dict[str, Any], tmp_path: Path) -> None:
    """``.msk``, as GDAL writes it; whatever the file says of nodata."""
    place = Affine(30, 0, 500_010, 0, -30, 5_200_020)
    profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 2, "dtype": "int16"}
    told = {"crs": "EPSG:32632", "transform": place}
    values = np.random.default_rng(4).integers(1, 9999, (2, SIZE, SIZE)).astype("int16")
    valid = np.ones((SIZE, SIZE), bool)
    valid[40:120, 64:250] = False
    path = tmp_path / "a.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(path, "w", **profile, **told, **blocks) as out,
    ):
        out.write(values)
        out.write_mask(valid)
    with rasterio.open(path, "r+") as out:
        out.build_overviews([2], Resampling.nearest)
    assert (tmp_path / "a.tif.msk").is_file()
    mosaic.build(path, tmp_path / "m", dst_crs="EPSG:32632")
    with rasterio.open(path, **({"overview_level": 0} if coarse == 2 else {})) as dataset:
        pixels, masks = dataset.read(), dataset.read_masks() > 0
    assert 0.1 < 1 - masks.mean() < 0.9
    box = GeoBox(pixels.shape[1:], place @ Affine.scale(coarse), "EPSG:32632")
    got = mosaic.read(tmp_path / "m", geobox=box, gate=Gate())
    np.testing.assert_array_equal(got.valid, masks)
    np.testing.assert_array_equal(got.values, np.where(masks, pixels, 0))
    # a mosaic that is published with its scenes tells of the masks: nothing is looked for
    shutil.copy(path, tmp_path / "m" / "a.tif")
    shutil.copy(tmp_path / "a.tif.msk", tmp_path / "m" / "a.tif.msk")
    mosaic.build(tmp_path / "m" / "a.tif", tmp_path / "m", dst_crs="EPSG:32632", overwrite=True)
    names = [one for one in (tmp_path / "m").rglob("*") if one.is_file()]
    with RangeServer({one.name: one.read_bytes() for one in names}) as server:
        far = mosaic.read(server.url("").rstrip("/"), geobox=box, gate=Gate())
        np.testing.assert_array_equal(far.valid, masks)
        assert {status for *_, status in server.counts.log} == {206}
        assert server.counts.heads == 0
    (tmp_path / "a.tif.msk").write_bytes(b"II*\0 nothing")
    mosaic.build(path, tmp_path / "m", dst_crs="EPSG:32632", overwrite=True)
    with pytest.raises(ReadError, match=r"a\.tif"):
        mosaic.read(tmp_path / "m", geobox=box, gate=Gate())


def test_lower_scenes_show_through_masks(tmp_path: Path) -> None:
    """Through a mask, and through each band's own nodata."""
    for name in ("a", "b"):
        write(tmp_path / f"{name}.tif", "mask")
    with rasterio.open(tmp_path / "b.tif", "r+") as below:
        below.write(np.full((1, SIZE - 40, SIZE), 7, "uint8"))
        below.write_mask(True)
    mosaic.build(
        [tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "m", dst_crs="EPSG:32632", sort="id"
    )
    got = mosaic.read(tmp_path / "m", gate=Gate())
    with rasterio.open(tmp_path / "a.tif") as top:
        pixels, mask = top.read(1), top.read_masks(1) > 0
    column, row = ~got.geobox.affine @ (top.transform.c, top.transform.f)
    here = np.s_[round(row) : round(row) + SIZE - 40, round(column) : round(column) + SIZE]
    np.testing.assert_array_equal(got.values[0][here], np.where(mask, pixels, 7))
    assert got.tally.waves == 2


def test_bands_of_different_types_are_read_apart(tmp_path: Path) -> None:
    write(tmp_path / "x_B04.tif", "tiled")
    write(tmp_path / "x_SCL.tif", "mask")
    mosaic.build([tmp_path / "x_B04.tif", tmp_path / "x_SCL.tif"], tmp_path / "m")
    with pytest.raises(UsageError, match="B04 is uint16, SCL is uint8"):
        mosaic.read(tmp_path / "m")
    assert mosaic.read(tmp_path / "m", bands="SCL", gate=Gate()).values.dtype == np.uint8
